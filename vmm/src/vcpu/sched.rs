//! The scheduling policy of a parked thread.
//!
//! A thread that wakes as an ordinary task preempts the one that wakes it; with hundreds of parked
//! vCPUs the thread that resumes them is scheduled out again and again. A SCHED_BATCH task does not
//! preempt on waking (sched(7)). Being batch in the guest would cost interrupt latency, so a thread is
//! batch only while it is parked.

/// Makes the calling thread SCHED_BATCH. Unprivileged; failure costs speed only.
pub(super) fn become_batch() {
    set(libc::SCHED_BATCH);
}

/// Makes the calling thread an ordinary task again.
pub(super) fn become_normal() {
    set(libc::SCHED_OTHER);
}

fn set(policy: libc::c_int) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` outlives the call, which only reads it; 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
}
