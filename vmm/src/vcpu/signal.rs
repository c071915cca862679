//! The kick: a real-time signal whose handler stores `immediate_exit`.
//!
//! The kernel looks at `immediate_exit` once, at the beginning of KVM_RUN (Documentation/virt/kvm/api.rst,
//! "5. The kvm_run structure"). A signal that lands in user space before the ioctl would be lost
//! without it; the handler runs on the thread that is kicked, finds the byte through a thread-local
//! pointer and makes the coming ioctl return. A signal that lands inside KVM_RUN interrupts it anyhow.

use std::cell::Cell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use vcpu_state::Kick;
use vcpu_state::sync::Arc;

thread_local! {
    /// This thread's `immediate_exit`, or null for a thread that runs no vCPU. `const`, and without
    /// a destructor, so that a handler may touch it at any time.
    static IMMEDIATE_EXIT: Cell<*const AtomicU8> = const { Cell::new(ptr::null()) };
}

/// The handler could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the handler of the vCPU kick signal: {0}")]
pub struct KickError(std::io::Error);

extern "C" fn on_kick(_signal: libc::c_int) {
    let byte = IMMEDIATE_EXIT.get();
    if !byte.is_null() {
        // SAFETY: `Kickable` set the pointer on this very thread and clears it before the mapping
        // that it points into goes away; a handler runs on the thread that it interrupts.
        unsafe { &*byte }.store(1, Ordering::Relaxed);
    }
}

/// The signal: the first that the C library leaves to programs.
fn number() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Installs the handler, once in a process.
pub(super) fn install() -> Result<(), KickError> {
    static INSTALLED: OnceLock<i32> = OnceLock::new();
    let errno = *INSTALLED.get_or_init(|| {
        let handler: extern "C" fn(libc::c_int) = on_kick;
        // SAFETY: all-zero is a valid `sigaction` (no flags, empty mask, default handler).
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // Other threads' system calls go on; KVM_RUN returns EINTR nevertheless.
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: `action` is initialised, and the handler touches nothing but a thread-local and
        // an atomic byte, which is async-signal-safe.
        let failed = unsafe { libc::sigaction(number(), &raw const action, ptr::null_mut()) } != 0;
        if failed {
            std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
        } else {
            0
        }
    });
    if errno == 0 { Ok(()) } else { Err(KickError(std::io::Error::from_raw_os_error(errno))) }
}

/// While it lives, kicks of this thread store into the given byte. Not `Send`: it belongs to the thread.
pub(super) struct Kickable {
    _thread: std::marker::PhantomData<*const ()>,
}

impl Kickable {
    /// # Safety
    /// `immediate_exit` stays valid until the returned value is dropped, on this thread.
    pub(super) unsafe fn new(immediate_exit: *const AtomicU8) -> Self {
        IMMEDIATE_EXIT.set(immediate_exit);
        Self { _thread: std::marker::PhantomData }
    }
}

impl Drop for Kickable {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(ptr::null());
    }
}

/// Kicks vCPU threads by `tgkill(2)`.
#[derive(Debug)]
pub struct SignalKick {
    process: libc::pid_t,
    threads: Box<[AtomicI32]>,
}

impl SignalKick {
    /// For a group of `members`; each thread announces itself before it starts.
    ///
    /// # Errors
    /// The handler could not be installed.
    pub fn new(members: usize) -> Result<Arc<Self>, KickError> {
        install()?;
        Ok(Arc::new(Self {
            // Cannot be cut short: Linux keeps process ids far below 2³¹.
            process: std::process::id().cast_signed(),
            threads: (0..members).map(|_| AtomicI32::new(0)).collect(),
        }))
    }

    /// The calling thread runs this member from now on.
    pub(super) fn announce(&self, member: usize) {
        // SAFETY: gettid has no preconditions.
        let thread = unsafe { libc::gettid() };
        // Release: pairs with the acquire in `kick`. Ordered before IN_GUEST by the lifecycle word
        // anyhow, which is what makes a kicker look here.
        self.threads[member].store(thread, Ordering::Release);
    }
}

/// The group's end of a [`SignalKick`], which the threads share.
#[derive(Debug)]
pub struct GroupKick(pub Arc<SignalKick>);

impl Kick for GroupKick {
    fn kick(&self, member: usize) {
        let Some(thread) = self.0.threads.get(member) else { return };
        let thread = thread.load(Ordering::Acquire);
        if thread != 0 {
            // SAFETY: tgkill has no memory preconditions. A thread that has left its loop since then
            // gets ESRCH, or another thread of this process a signal whose handler does nothing.
            unsafe { libc::syscall(libc::SYS_tgkill, self.0.process, thread, number()) };
        }
    }
}
