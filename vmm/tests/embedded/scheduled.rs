//! What the host's scheduler knows of a VM's threads: for how long each ran and waited for a processor
//! (`/proc/PID/task/TID/schedstat`). The rest it slept, and a spinning vCPU sleeps only while it is held.
//!
//! Where this host is itself a guest, its processors are taken from it at times (`steal` in `/proc/stat`). The
//! scheduler counts that neither as running nor as waiting, so that it looks like sleep: it is set apart.
//!
//! Read only while the VM is paused: the kernel counts a wait when it is over, and a paused thread has none.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::until;

/// The threads of the only VM in this process, and of its throttle.
#[derive(Debug)]
pub struct Threads {
    vcpus: Vec<PathBuf>,
    throttle: Vec<PathBuf>,
}

/// What each thread had run and waited at a time.
struct Reading {
    at: Instant,
    /// What this host's own hypervisor had taken from all of its processors.
    stolen: Duration,
    vcpus: Vec<[Duration; 2]>,
    throttle: Vec<[Duration; 2]>,
}

/// Something between two pauses.
pub struct Window {
    begin: Reading,
    begun: Instant,
}

/// What the scheduler saw of a vCPU in a window, in percent of it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// It slept.
    pub least: f64,
    /// It slept, or waited for a processor: part of that is its wake, part is others' work on this host.
    pub most: f64,
    /// The throttle's own thread waited for a processor: meanwhile it can neither hold nor let go.
    pub throttle_waited: f64,
    /// This host's processors stood still for its own hypervisor: whose thread was on one is not known.
    pub stolen: f64,
}

impl Threads {
    /// Waits until there is one thread for each vCPU and one for the throttle: a thread has its name, by which it
    /// is found, only once it has run, and one that was joined may still be there for a moment. What is not found
    /// would seem not to have waited.
    pub fn of_the_vm(vcpus: usize) -> Self {
        let named = |start: &str| -> Vec<PathBuf> {
            let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
            let number = |task: &PathBuf| {
                // It may have ended since it was listed.
                let name = fs::read_to_string(task.join("comm")).ok()?;
                Some(name.strip_prefix(start)?.trim_end().parse().unwrap_or(0_u32))
            };
            let mut tasks: Vec<_> = tasks.filter_map(|task| Some((number(&task)?, task))).collect();
            // By their own number: they are not started in its order.
            tasks.sort_unstable();
            tasks.into_iter().map(|(_, task)| task).collect()
        };
        let found = || Self { vcpus: named("vcpu"), throttle: named("throttle") };
        let complete = |them: &Self| (them.vcpus.len(), them.throttle.len()) == (vcpus, 1);
        let state = || format!("{:?}", found());
        until("the threads of the VM and its throttle", || complete(&found()), state);
        found()
    }

    /// To be called while the VM is paused; then `resume` is. Nothing where the kernel does not count
    /// (`CONFIG_SCHED_INFO`).
    pub fn begin(&self, resume: impl FnOnce()) -> Option<Window> {
        let begin = self.read()?;
        resume();
        Some(Window { begin, begun: Instant::now() })
    }

    /// Ends a window by a pause.
    pub fn end(&self, window: &Window, pause: impl FnOnce()) -> Vec<Held> {
        let ended = Instant::now();
        pause();
        let end = self.read().unwrap();
        let wall = (ended - window.begun).as_secs_f64();
        // Slept under the pauses at both ends: not the throttle's doing.
        let aside = (window.begun - window.begin.at) + (end.at - ended);
        let all = (end.at - window.begin.at).saturating_sub(aside).as_secs_f64();
        let spent = |now: &[Duration; 2], then: &[Duration; 2]| {
            [0, 1].map(|which| now[which].saturating_sub(then[which]).as_secs_f64())
        };
        let throttle = end.throttle.iter().zip(&window.begin.throttle);
        let throttle_waited: f64 = throttle.map(|(now, then)| spent(now, then)[1]).sum();
        let stolen = end.stolen.saturating_sub(window.begin.stolen).as_secs_f64();
        let held = |(now, then)| {
            let [ran, waited] = spent(now, then);
            let percent = |seconds: f64| 100.0 * seconds / wall;
            Held {
                least: percent(all - ran - waited),
                most: percent(all - ran),
                throttle_waited: percent(throttle_waited),
                stolen: percent(stolen),
            }
        };
        end.vcpus.iter().zip(&window.begin.vcpus).map(held).collect()
    }

    fn read(&self) -> Option<Reading> {
        let read = |task: &PathBuf| {
            let text = fs::read_to_string(task.join("schedstat")).ok()?;
            let mut nanos = text.split_whitespace().map(|field| field.parse().ok());
            let mut next = || nanos.next().flatten().map(Duration::from_nanos);
            Some([next()?, next()?])
        };
        let all = |tasks: &[PathBuf]| tasks.iter().map(read).collect::<Option<Vec<_>>>();
        let (vcpus, throttle) = (all(&self.vcpus)?, all(&self.throttle)?);
        Some(Reading { at: Instant::now(), stolen: stolen()?, vcpus, throttle })
    }
}

/// The kernel's `USER_HZ` on x86, in which `/proc` counts whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// What was stolen from all processors since the host's boot, in whole ticks (proc(5), `/proc/stat`).
fn stolen() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: u32 = text.lines().next()?.split_whitespace().nth(8)?.parse().ok()?;
    Some(TICK * ticks)
}

impl Held {
    /// How far a share is from what can have been, in percentage points.
    pub fn error(&self, share: f64) -> f64 {
        let unknown = self.throttle_waited + self.stolen;
        (self.least - unknown - share).max(share - self.most - unknown).max(0.0)
    }

    /// What others took from this vCPU and from the throttle.
    pub fn taken(&self) -> f64 {
        self.most - self.least + self.throttle_waited + self.stolen
    }
}
