//! A hang is reported within seconds, with all that is known, and ends the process.
//!
//! Progress is a step that was finished, or something that somebody waits for having come nearer.
//! Where there is none for some time something hangs, unless the host keeps somebody from a processor.
//! That time decides nothing else.

#![expect(clippy::disallowed_types, reason = "no vCPU thread comes here")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use stillpoint_guest::{Line, LineBytes, line_address};
use vcpu_state::Group;
use vcpu_state::sync::Arc;
use vm_memory::{Bytes, GuestAddress};
use vmm::control::{Vmm, VmmControl};
use vmm::vm::Machine;

use super::host;

/// Without progress for this long, and some more for each vCPU, something hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const MORE_FOR_EACH_VCPU: Duration = Duration::from_millis(100);
/// And nobody waited for a processor for this long.
const UNHINDERED: Duration = Duration::from_secs(3);
/// However the host may be: that long is a hang.
const AT_MOST: Duration = Duration::from_mins(5);

struct Watch {
    begun: Instant,
    /// Milliseconds from then to the last progress.
    last: AtomicU64,
    patience: AtomicU64,
    known: Mutex<Known>,
}

/// What a report tells of.
#[derive(Default)]
struct Known {
    seed: u64,
    program: String,
    vmm: Option<Arc<Vmm>>,
    group: Option<Arc<Group>>,
    machine: Option<Arc<Machine>>,
    /// What each thread is at, by its name.
    doing: BTreeMap<String, String>,
}

fn watch() -> &'static Watch {
    static WATCH: OnceLock<Watch> = OnceLock::new();
    WATCH.get_or_init(|| {
        let known = Mutex::default();
        let begun = Instant::now();
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(look_on).unwrap();
        Watch { begun, last: AtomicU64::new(0), patience: AtomicU64::new(u64::MAX), known }
    })
}

fn known() -> MutexGuard<'static, Known> {
    watch().known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// Something went on.
pub fn progress() {
    let watch = watch();
    watch.last.store(millis(watch.begun.elapsed()), Ordering::Relaxed);
}

/// Waits, looking again and again, until what is looked at is there. `look` says whether it is, and
/// something that changes when it comes nearer.
pub fn wait_for<S: PartialEq + std::fmt::Debug>(what: &str, mut look: impl FnMut() -> (bool, S)) {
    let (mut there, mut state) = look();
    doing(|| format!("waiting for {what}: {state:?}"));
    while !there {
        // Leaves the processors to the guest between two looks.
        rest(Duration::from_micros(500));
        let (now_there, now) = look();
        there = now_there;
        if now != state {
            state = now;
            doing(|| format!("waiting for {what}: {state:?}"));
        }
    }
    progress();
}

/// Does nothing for a while.
pub fn rest(time: Duration) {
    let moment = rustix::time::Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    };
    let _ = rustix::thread::nanosleep(&moment);
}

/// The calling thread is at something else now, which is progress.
pub fn doing(what: impl FnOnce() -> String) {
    progress();
    let thread = std::thread::current().name().unwrap_or("?").to_owned();
    known().doing.insert(thread, what());
}

/// A program begins: from now on somebody looks on.
pub fn begin(seed: u64, program: String, vcpus: u32) {
    let mut patience = PATIENCE + MORE_FOR_EACH_VCPU * vcpus;
    if let Ok(text) = std::env::var("STILLPOINT_HAMMER_PATIENCE") {
        patience = Duration::from_secs(text.parse().unwrap());
    }
    progress();
    *known() = Known { seed, program, ..Known::default() };
    watch().patience.store(millis(patience), Ordering::Relaxed);
}

/// This is the VM now.
pub fn now_with(vmm: &Arc<Vmm>, group: &Arc<Group>, machine: &Arc<Machine>) {
    let mut known = known();
    known.vmm = Some(Arc::clone(vmm));
    known.group = Some(Arc::clone(group));
    known.machine = Some(Arc::clone(machine));
}

/// The program is over.
pub fn end() {
    watch().patience.store(u64::MAX, Ordering::Relaxed);
    *known() = Known::default();
}

fn look_on() {
    vmm::sched::run_soon();
    let watch = watch();
    let mut hindered = None;
    loop {
        rest(Duration::from_millis(200));
        let now = watch.begun.elapsed();
        let quiet = millis(now).saturating_sub(watch.last.load(Ordering::Relaxed));
        let patience = watch.patience.load(Ordering::Relaxed);
        if patience == u64::MAX || quiet <= patience {
            hindered = None;
            continue;
        }
        let waiting = host::waiting_for_a_processor();
        if hindered.is_none() && !waiting.is_empty() {
            eprintln!("hammer: nothing goes on, but these want a processor: {waiting:?}");
        }
        // The first look counts as one that found somebody, so that there are others.
        let since = *hindered.get_or_insert(now);
        if !waiting.is_empty() && quiet < millis(AT_MOST) {
            hindered = Some(now);
        } else if now.saturating_sub(since) > UNHINDERED || quiet >= millis(AT_MOST) {
            eprintln!("{}", report(quiet));
            std::process::abort();
        }
    }
}

/// All that is known, for people.
fn report(quiet: u64) -> String {
    let mut text = format!("hammer: HANG: nothing went on for {quiet} ms\n");
    // Whoever hangs might do so with it in its hands.
    match watch().known.try_lock() {
        Ok(known) => {
            let Known { seed, program, vmm, group, machine, doing } = &*known;
            let _ = writeln!(text, "seed {seed}: {}", super::plan::again(*seed));
            let _ = writeln!(text, "program: {program}");
            for (thread, what) in doing {
                let _ = writeln!(text, "  {thread}: {what}");
            }
            let state =
                vmm.as_ref().map(|vmm| vmm.info().map(|info| (info.state, info.last_error)));
            let _ = writeln!(text, "phase: {state:?}");
            for (index, word) in group.iter().flat_map(|group| group.words().enumerate()) {
                let _ = writeln!(text, "  vCPU {index}: {word}");
            }
            for index in 0..group.as_ref().map_or(0, |group| group.len()) {
                let _ =
                    writeln!(text, "  guest's line {index}: {:?}", line(machine.as_ref(), index));
            }
            let counters = vmm.as_ref().and_then(|vmm| vmm.counters().ok());
            let _ = writeln!(text, "counters: {counters:?}");
        }
        Err(error) => {
            let _ = writeln!(text, "no more is known of the program: {error}");
        }
    }
    text.push_str(&threads());
    text
}

/// What the guest counted on one vCPU.
fn line(machine: Option<&Arc<Machine>>, index: usize) -> Option<Line> {
    let address = line_address(u32::try_from(index).ok()?);
    let mut bytes: LineBytes = [0; 64];
    machine?.ram.memory().read_slice(&mut bytes, GuestAddress(address)).ok()?;
    Some(Line::parse(&bytes))
}

/// Every thread of the process: its name, where in the kernel it waits, its system call and kernel stack.
fn threads() -> String {
    let mut text = "threads:\n".to_owned();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let of = |file: &str| one_line(&task.path().join(file));
        let id = task.file_name();
        let _ = write!(text, "  {} {}: in {}", id.to_string_lossy(), of("comm"), of("wchan"));
        let _ = writeln!(text, ", system call {}, stack {}", of("syscall"), of("stack"));
    }
    text
}

fn one_line(path: &Path) -> String {
    let read = std::fs::read_to_string(path);
    let text = read.unwrap_or_else(|error| format!("({error})"));
    text.split_whitespace().filter(|word| *word != "[<0>]").collect::<Vec<_>>().join(" ")
}
