//! The signal that stops a thread of the floor, and the thread's scheduling policy: the system calls
//! that have no safe wrapper.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::gate::Gate;

thread_local! {
    /// Where the handler stops this thread. `const`, and without a destructor, so that a handler may
    /// touch it at any time.
    static GATE: Cell<*const Gate> = const { Cell::new(ptr::null()) };
}

/// The second real-time signal: the first one kicks vCPUs.
fn number() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

extern "C" fn on_signal(_signal: libc::c_int) {
    let gate = GATE.get();
    if !gate.is_null() {
        // SAFETY: `handle_with` set the pointer on this very thread from a reference that outlives
        // the guard, and the guard clears it.
        unsafe { &*gate }.stop_here();
    }
}

/// Installs the handler.
pub(super) fn install() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = on_signal;
    // SAFETY: all-zero is a valid `sigaction` (no flags, empty mask, default handler).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: `action` is initialised; the handler touches a thread-local and atomics, and makes
    // system calls that are async-signal-safe.
    if unsafe { libc::sigaction(number(), &raw const action, ptr::null_mut()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// While it lives, the signal stops this thread at a gate.
pub(super) struct Handling<'g> {
    _gate: PhantomData<&'g Gate>,
    // Belongs to its thread.
    _thread: PhantomData<*const ()>,
}

/// From now on, and as long as the result lives, the signal stops this thread at `gate`.
pub(super) fn handle_with(gate: &Gate) -> Handling<'_> {
    GATE.set(gate);
    Handling { _gate: PhantomData, _thread: PhantomData }
}

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        GATE.set(ptr::null());
    }
}

/// The signal comes to the calling thread only in [`Held::wait`]: one that comes on the way there is not lost on a thread that
/// then sleeps as if it had never been stopped.
pub(super) struct Held(libc::sigset_t);

/// Holds the signal back from the calling thread.
pub(super) fn hold() -> Held {
    // SAFETY: all-zero is a valid `sigset_t`; both sets outlive the calls, which write and read nothing else. Blocking a signal of its own
    // can fail for no thread.
    unsafe {
        let (mut ours, mut before) = std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>();
        libc::sigemptyset(&raw mut ours);
        libc::sigaddset(&raw mut ours, number());
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const ours, &raw mut before);
        Held(before)
    }
}

impl Held {
    /// Sleeps until the descriptor is readable, or the signal has been handled.
    pub(super) fn wait(&self, descriptor: BorrowedFd<'_>) {
        let mut polled =
            libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `polled` and the mask outlive the call; no time-out.
        unsafe { libc::ppoll(&raw mut polled, 1, ptr::null(), &raw const self.0) };
    }
}

/// A thread of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadId {
    process: libc::pid_t,
    thread: libc::pid_t,
}

/// The calling thread.
pub(super) fn this_thread() -> ThreadId {
    // SAFETY: neither has preconditions.
    unsafe { ThreadId { process: libc::getpid(), thread: libc::gettid() } }
}

impl ThreadId {
    /// Sends the signal, by tgkill(2).
    pub(super) fn signal(self) -> io::Result<()> {
        // SAFETY: tgkill has no memory preconditions; a thread that has ended gives ESRCH.
        match unsafe { libc::syscall(libc::SYS_tgkill, self.process, self.thread, number()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Makes the calling thread SCHED_BATCH. Failure costs speed only.
pub(super) fn become_batch() {
    set_policy(libc::SCHED_BATCH);
}

/// Makes the calling thread an ordinary task again.
pub(super) fn become_ordinary() {
    set_policy(libc::SCHED_OTHER);
}

fn set_policy(policy: libc::c_int) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` outlives the call, which only reads it; 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
}
