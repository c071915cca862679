//! Scheduling: what threads ask of the kernel so that a pause or resume is not kept waiting by the
//! vCPUs that it is about. All of it costs only speed when it fails; what needs a privilege
//! (CAP_SYS_NICE, RLIMIT_NICE, RLIMIT_RTPRIO) is done where there is one.
//!
//! * **A parked vCPU is SCHED_BATCH.** A thread that wakes as an ordinary task may preempt the one
//!   that wakes it; with hundreds of parked vCPUs the thread that resumes them would be scheduled out
//!   again and again. A batch task does not preempt on waking (sched(7)). Being batch in the guest
//!   would cost interrupt latency, so a thread is batch only while it is parked.
//! * **Threads that serve requests have short slices**, and the highest nice value where that is allowed.
//!   A task that wakes with a shorter slice than the one that runs is scheduled first (Linux 6.12,
//!   `sched_setattr(2)` with `sched_runtime`): a request is served at once although every processor is
//!   full of spinning vCPUs.
//! * **Waking a group is done by another thread**, one with ordinary slices and, where that is allowed,
//!   SCHED_FIFO for that moment: waking hundreds takes longer than a short slice, and who is
//!   scheduled out in the middle of it is last in a queue of hundreds.

/// The shortest slice that the kernel takes, in nanoseconds.
const SHORT_SLICE: u64 = 100_000;
/// Nice values (sched(7)).
const HIGHEST: i32 = -20;
const ORDINARY: i32 = 0;
/// SCHED_FLAG_RESET_ON_FORK: threads that are started begin as ordinary ones.
const RESET_ON_FORK: u64 = 1;

/// Makes the calling thread SCHED_BATCH.
pub(crate) fn become_batch() {
    set(libc::SCHED_BATCH, 0);
}

/// Makes the calling thread an ordinary task again.
pub(crate) fn become_normal() {
    set(libc::SCHED_OTHER, 0);
}

fn set(policy: libc::c_int, priority: libc::c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameters` outlives the call, which only reads it; 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

/// `struct sched_attr` as of its first version (sched_setattr(2)).
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// For threads that serve requests: they run soon after they wake, and, where this process may raise
/// priorities (CAP_SYS_NICE or RLIMIT_NICE), before vCPUs. Threads that they start do not inherit it.
pub fn serve_promptly() {
    if !set_attr(HIGHEST, SHORT_SLICE) {
        set_attr(ORDINARY, SHORT_SLICE);
    }
}

/// Does something that must not be scheduled out half way, under SCHED_FIFO where that is allowed.
pub(crate) fn without_interruption(work: impl FnOnce()) {
    let raised = set(libc::SCHED_FIFO, 1);
    work();
    if raised {
        become_normal();
    }
}

fn set_attr(nice: i32, slice: u64) -> bool {
    const SIZE: u32 = 48;
    const { assert!(size_of::<SchedAttr>() == SIZE as usize) };
    let attr = SchedAttr {
        size: SIZE,
        policy: libc::SCHED_OTHER.cast_unsigned(),
        flags: RESET_ON_FORK,
        nice,
        priority: 0,
        runtime: slice,
        deadline: 0,
        period: 0,
    };
    // SAFETY: `attr` has the size that it says and outlives the call, which only reads it; 0 means the
    // calling thread, and no flags.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) == 0 }
}
