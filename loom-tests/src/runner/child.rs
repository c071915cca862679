//! The child: explores one half and reports how that ended.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vcpu_state::sync::{Reads, set_reads};

use super::verdict::{Ended, Report};
use crate::model::{Bound, Half, Model};

/// Executions begun. Outside of the checker's sight: it counts across executions.
static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Operations of one execution after which loom suspects a live-lock. The longest model needs a few
/// hundred; no loop in a model spins.
const MAX_BRANCHES: usize = 10_000;

/// How long one half may be explored. The longest takes seconds: one that takes this long has grown past its
/// bound, and would hold up everybody's tests.
const LIMIT: Duration = Duration::from_mins(5);

pub(super) fn explore(model: &Model, half: Half, bound: Bound) -> ExitCode {
    let Some((run, _)) = model.half(half) else { return ExitCode::from(2) };
    set_reads(if half == Half::OursNewest { Reads::Newest } else { Reads::Any });
    let begun = Instant::now();
    let report = move |ended| {
        let executions = EXECUTIONS.load(Ordering::Relaxed);
        println!("{}", Report { executions, seconds: begun.elapsed().as_secs_f64(), ended });
    };
    std::panic::set_hook(Box::new(move |panic| {
        report(Ended::Panicked(panic.payload_as_str().unwrap_or("(no message)").to_owned()));
        // Unwinding out of an execution that is stuck would abort; everything is said.
        std::process::exit(i32::from(super::verdict::PANICKED));
    }));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = match bound {
        Bound::Exhaustive => None,
        Bound::Preemptions(n) => Some(n),
    };
    builder.max_branches = MAX_BRANCHES;
    // The environment could shorten these; a table must mean the same everywhere.
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.check(move || {
        let executions = EXECUTIONS.fetch_add(1, Ordering::Relaxed);
        assert!(
            begun.elapsed() < LIMIT,
            "not explored within {LIMIT:?}, after {executions} executions"
        );
        run();
    });
    report(Ended::Explored);
    ExitCode::SUCCESS
}
