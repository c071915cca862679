//! The hammer: random programs over real VMs (see `hammer/mod.rs`), a bounded time of them as a test among
//! others, as long as one likes by `cargo xtask hammer`.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod hammer;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use hammer::bed;
use hammer::plan::{Plan, again};
use hammer::program::{Chapter, End, Program, Step, program};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use stillpoint_guest::Mode;

/// Draws the program of a seed and runs it. If it fails, shorter ones that fail, too, are looked for.
fn run_one(seed: u64) -> Result<(), String> {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 200,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let run = |program: Program| bed::run(&program, seed).map_err(TestCaseError::fail);
    runner.run(&program(), run).map_err(|error| error.to_string())
}

#[test]
fn programs_of_everything_at_once() {
    let mut plan = Plan::from_environment();
    eprintln!("hammer: from seed {}", plan.seed);
    let mut programs = 0;
    while plan.goes_on(programs) {
        let seed = plan.seed.wrapping_add(programs);
        if let Err(error) = run_one(seed) {
            panic!("seed {seed} failed; again with: {}\n{error}", again(seed));
        }
        programs += 1;
        plan.tell(seed);
    }
    eprintln!("{}", plan.summary());
}

/// Set in the child process that hangs.
const HANG: &str = "STILLPOINT_HAMMER_TEST_HANG";

#[test]
fn a_hang_is_reported_with_all_that_is_known() {
    if std::env::var_os(HANG).is_some() {
        let steps = vec![Step::Pause, Step::Hold, Step::Nmi, Step::Stuck];
        let chapter = Chapter { mode: Mode::Busy, hands: vec![steps], end: End::None };
        let program = Program { vcpus: 3, tick: 0, chapters: vec![chapter] };
        unreachable!("{:?}", bed::run(&program, 4711));
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_hang_is_reported_with_all_that_is_known", "--nocapture"])
        .envs([(HANG, "1"), ("STILLPOINT_HAMMER_PATIENCE", "5")])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{report}");
    for part in [
        "HANG: nothing went on for",
        "cargo xtask hammer --seed 4711 --programs 1",
        "program: Program { vcpus: 3,",
        "hand0: step 4 of 4: Stuck",
        "phase: Some(Ok((Paused, None)))",
        // Held by the operator and by the hand, an NMI to come.
        "vCPU 2: RUN|PAUSE_REQUESTED|PAUSED|NMI|PARKED epoch=3 holders=2",
        "vcpu1: in ",
        "hand0: in ",
        "control: in ",
        "system call 202 ",
    ] {
        assert!(report.contains(part), "lacks {part:?}:\n{report}");
    }
}
