//! Scheduling: what threads ask of the kernel so that a pause or resume is not kept waiting by the
//! vCPUs that it is about. All of it costs only speed when it fails; what needs a privilege
//! (CAP_SYS_NICE, RLIMIT_NICE, RLIMIT_RTPRIO) is done where there is one.
//!
//! * **A parked vCPU is SCHED_BATCH.** A thread that wakes as an ordinary task may preempt the one
//!   that wakes it; with hundreds of parked vCPUs the thread that resumes them would be scheduled out
//!   again and again. A batch task does not preempt on waking (sched(7)). Being batch in the guest
//!   would cost interrupt latency, so a thread is batch only while it is parked.
//! * **Threads that serve requests are under SCHED_FIFO** where that is allowed, and only for requests that
//!   take no processor for long; else they have short slices. A task that wakes with a shorter slice than
//!   the one that runs is scheduled first (Linux 6.12, `sched_setattr(2)` with `sched_runtime`). Either way
//!   a request is served at once although every processor is full of spinning vCPUs.
//! * **A group is woken by another thread**, the control thread, under SCHED_FIFO for that moment: waking
//!   hundreds takes longer than a short slice, and who is scheduled out in the middle of it is last in a
//!   queue of hundreds. While it waits it is SCHED_BATCH: being told to wake them, it does not take the
//!   processor from the one who told it, or from the client that was just answered.

/// The shortest slice that the kernel takes, in nanoseconds.
const SHORT_SLICE: u64 = 100_000;
/// The highest nice value (sched(7)).
const HIGHEST: i32 = -20;
/// SCHED_FLAG_RESET_ON_FORK: threads that are started begin as ordinary ones.
const RESET_ON_FORK: u64 = 1;

/// Priorities of those under SCHED_FIFO: the lowest, since nothing here needs to be before others of that class.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Fifo {
    /// Clients that wait for an answer, and who wakes a group.
    Ask = 1,
    /// Threads that serve requests. Above their clients: a thread of this class that wakes stays on its processor
    /// if what runs there is below it, else the kernel looks for another processor, and to wake that one takes
    /// longer than all else about a request.
    Serve = 2,
}

/// What the kernel knows of a thread: `struct sched_attr` as of its first version (sched_setattr(2)).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// Of an ordinary or batch task its slice, in nanoseconds; 0 before Linux 6.12.
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Attributes {
    const SIZE: u32 = 48;
    const ORDINARY: u32 = libc::SCHED_OTHER.cast_unsigned();
    const FIFO: u32 = libc::SCHED_FIFO.cast_unsigned();

    /// Those of the calling thread, if it has this policy. One that somebody gave another (chrt(1))
    /// keeps it.
    fn of(policy: u32) -> Option<Self> {
        const { assert!(size_of::<Attributes>() == Attributes::SIZE as usize) };
        let mut attr = Self::default();
        // SAFETY: the kernel writes at most the size that it is told, which is that of `attr`; 0 means
        // the calling thread, and no flags.
        let got =
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, Self::SIZE, 0) };
        (got == 0 && attr.policy == policy).then_some(attr)
    }

    /// Gives them to the calling thread.
    fn apply(self) -> bool {
        let attr = Self { size: Self::SIZE, ..self };
        // SAFETY: `attr` has the size that it says and outlives the call, which only reads it; 0 means
        // the calling thread, and no flags.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) == 0 }
    }

    fn fifo(self, priority: Fifo) -> Self {
        Self { policy: Self::FIFO, nice: 0, priority: priority as u32, runtime: 0, ..self }
    }

    fn promptly(self, priority: Fifo) -> bool {
        // RLIMIT_RTPRIO may allow no more than the lowest.
        let fifo = |priority| Self { flags: RESET_ON_FORK, ..self.fifo(priority) }.apply();
        fifo(priority) || fifo(Fifo::Ask) || self.at_leisure()
    }

    /// Makes the calling thread an ordinary task again, with short slices and where allowed the highest
    /// nice value.
    fn at_leisure(self) -> bool {
        let attr = Self {
            policy: Self::ORDINARY,
            flags: RESET_ON_FORK,
            priority: 0,
            runtime: SHORT_SLICE,
            ..self
        };
        Self { nice: HIGHEST, ..attr }.apply() || attr.apply()
    }
}

/// Does something that waits, as a batch task: waking from it takes the processor from nobody. Hundreds
/// of vCPUs do this in a pause, so it is the cheaper system call of two: it keeps the nice value, not a slice
/// that somebody gave the thread.
pub(crate) fn as_batch<T>(wait: impl FnOnce() -> T) -> T {
    // SAFETY: the call reads and writes no memory; 0 means the calling thread.
    let ordinary = unsafe { libc::sched_getscheduler(0) } == libc::SCHED_OTHER;
    let changed = ordinary && set_policy(libc::SCHED_BATCH);
    let done = wait();
    if changed {
        set_policy(libc::SCHED_OTHER);
    }
    done
}

fn set_policy(policy: libc::c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` outlives the call, which only reads it; 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

/// Does something that must not be scheduled out half way, under SCHED_FIFO where that is allowed.
pub(crate) fn without_interruption<T>(work: impl FnOnce() -> T) -> T {
    within(Attributes::ORDINARY, |attr| attr.fifo(Fifo::Ask).apply(), work)
}

/// Does something in another class, from which the thread comes back to what it was.
fn within<T>(was: u32, change: impl FnOnce(Attributes) -> bool, work: impl FnOnce() -> T) -> T {
    let before = Attributes::of(was).filter(|attr| change(*attr));
    let done = work();
    if let Some(attr) = before {
        attr.apply();
    }
    done
}

/// For threads that serve requests: where this process may, they run under SCHED_FIFO, else as soon after
/// they wake as an ordinary task can. Threads that they start do not inherit it.
pub(crate) fn run_promptly() {
    if let Some(attr) = Attributes::of(Attributes::ORDINARY) {
        attr.promptly(Fifo::Serve);
    }
}

/// For a thread whose time-outs are short: the kernel wakes an ordinary task up to 50 µs late, to save power
/// (PR_SET_TIMERSLACK, prctl(2)).
pub(crate) fn wake_in_time() {
    // SAFETY: the call reads and writes no memory; 1 ns is the least, and it is for the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}

/// For threads that look on while vCPUs have the processors: as soon after they wake as an ordinary task can.
pub fn run_soon() {
    if let Some(attr) = Attributes::of(Attributes::ORDINARY) {
        attr.at_leisure();
    }
}

/// Asks for something, as a client that waits for the answer, in the same class as the thread that
/// serves it.
pub fn ask_promptly<T>(request: impl FnOnce() -> T) -> T {
    within(Attributes::ORDINARY, |attr| attr.promptly(Fifo::Ask), request)
}

/// Does something that may take long on a thread that serves promptly: as a task that others get
/// processors beside.
pub(crate) fn at_leisure<T>(work: impl FnOnce() -> T) -> T {
    // Only a class that `run_promptly` gave: one that somebody else gave is not reset on fork.
    let leave = |attr: Attributes| attr.flags & RESET_ON_FORK != 0 && attr.at_leisure();
    within(Attributes::FIFO, leave, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: the call reads and writes no memory; 0 means the calling thread.
        unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
    }

    /// A thread of its own, so that no test changes another's.
    fn on_a_thread(test: fn()) {
        std::thread::spawn(test).join().unwrap();
    }

    fn ordinary() -> Attributes {
        Attributes::of(Attributes::ORDINARY).unwrap()
    }

    #[test]
    fn a_wait_is_batch_and_nothing_after_it() {
        on_a_thread(|| {
            let before = ordinary();
            assert_eq!(as_batch(policy), libc::SCHED_BATCH);
            assert_eq!(ordinary().nice, before.nice);
        });
    }

    #[test]
    fn every_class_is_given_back() {
        on_a_thread(|| {
            let before = ordinary();
            // Where it is not allowed they do their work as what they are.
            for allowed in [without_interruption(policy), ask_promptly(policy)] {
                assert!([libc::SCHED_FIFO, libc::SCHED_OTHER].contains(&allowed));
                let after = ordinary();
                assert_eq!((after.nice, after.runtime), (before.nice, before.runtime));
            }
        });
    }

    #[test]
    fn a_policy_that_somebody_gave_a_thread_is_kept() {
        on_a_thread(|| {
            if !(ordinary().fifo(Fifo::Ask).apply()) {
                return;
            }
            assert_eq!(as_batch(policy), libc::SCHED_FIFO);
            assert_eq!(without_interruption(policy), libc::SCHED_FIFO);
            run_promptly();
            assert_eq!(at_leisure(policy), libc::SCHED_FIFO);
            assert_eq!(policy(), libc::SCHED_FIFO);
        });
    }

    #[test]
    fn what_is_done_at_leisure_is_an_ordinary_task() {
        on_a_thread(|| {
            run_promptly();
            let prompt = policy();
            assert_eq!(at_leisure(policy), libc::SCHED_OTHER);
            assert_eq!(policy(), prompt);
        });
    }

    #[test]
    fn threads_that_a_prompt_one_starts_are_ordinary() {
        on_a_thread(|| {
            run_promptly();
            on_a_thread(|| assert_eq!(ordinary().nice, 0));
        });
    }
}
