//! Scheduling: what threads ask of the kernel so that a pause or resume is not kept waiting by the
//! vCPUs that it is about. All of it is unprivileged, and all of it costs only speed when it fails.
//!
//! * **A parked vCPU is SCHED_BATCH.** A thread that wakes as an ordinary task may preempt the one
//!   that wakes it; with hundreds of parked vCPUs the thread that resumes them would be scheduled out
//!   again and again. A batch task does not preempt on waking (sched(7)). Being batch in the guest
//!   would cost interrupt latency, so a thread is batch only while it is parked.
//! * **Threads that serve requests have short slices.** A task that wakes with a shorter slice than the one
//!   that runs is scheduled first (Linux 6.12, `sched_setattr(2)` with `sched_runtime`): a request is
//!   served at once although every processor is full of spinning vCPUs.

/// The shortest slice that the kernel takes, in nanoseconds.
const SHORT_SLICE: u64 = 100_000;

/// Makes the calling thread SCHED_BATCH.
pub(crate) fn become_batch() {
    set(libc::SCHED_BATCH);
}

/// Makes the calling thread an ordinary task again.
pub(crate) fn become_normal() {
    set(libc::SCHED_OTHER);
}

fn set(policy: libc::c_int) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` outlives the call, which only reads it; 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
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

/// Gives the calling thread the shortest slices: it runs soon after it wakes, and not for long.
pub fn prefer_short_slices() {
    const SIZE: u32 = 48;
    const { assert!(size_of::<SchedAttr>() == SIZE as usize) };
    let attr = SchedAttr {
        size: SIZE,
        policy: libc::SCHED_OTHER.cast_unsigned(),
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: SHORT_SLICE,
        deadline: 0,
        period: 0,
    };
    // SAFETY: `attr` has the size that it says and outlives the call, which only reads it; 0 means the
    // calling thread, and no flags.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
}
