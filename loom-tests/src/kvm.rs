//! A model of KVM_RUN and of the signal that kicks a vCPU out of it.
//!
//! ```text
//!   user mode                          the ioctl
//!   ─────────                          ─────────
//!   handler may run here  ──enter──▶   complete the pending exit
//!        ▲                             immediate_exit set? ──yes──▶ EINTR
//!        │                             loop:  a signal pending? ──▶ EINTR
//!        └───────── return ◀───────           the guest exits?  ──▶ exit, to be completed
//!          (handler runs if a                 else sleep (HLT) until a signal
//!           signal is pending)
//! ```
//!
//! Facts (`Documentation/virt/kvm/api.rst`, KVM_RUN and `immediate_exit`; signal(7)): `immediate_exit`
//! is read once, at the beginning of the ioctl, after the pending exit was completed; a pending
//! signal makes the ioctl return; the handler runs on the signalled thread, in user mode. So only the
//! thread itself touches its `immediate_exit`, which therefore is a plain cell to the checker.
//!
//! A signal is *sent* by setting `signal` and *delivered* by [`Kvm::user_mode`], which the loop calls
//! at every place where the handler could run. That load is relaxed: the checker may show it an older
//! value, which stands for a delivery that is on its way.

use std::sync::atomic::{AtomicBool as Cell, Ordering::Relaxed};

use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{Condvar, Mutex, lock, wait};

/// What is found where a guest is entered that was not told that it stood still.
pub const NOT_TOLD: &str = "the guest goes on without having been told that time stood still";

/// What the signal's handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Nothing, as in VMMs that only want the ioctl to return.
    Empty,
    /// Stores `immediate_exit`, as ours.
    StoreImmediateExit,
}

/// What the guest does when it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Exits to the VMM for I/O.
    Exits,
    /// Executes HLT and waits for an interrupt that does not come.
    Halts,
}

/// How KVM_RUN returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// EINTR.
    Interrupted,
    /// An I/O exit; the next KVM_RUN completes it.
    Io,
}

/// The vCPUs of one model VM, as the kernel sees them.
pub struct Kvm {
    vcpus: Box<[Vcpu]>,
    handler: Handler,
}

struct Vcpu {
    /// Sent to the thread, not delivered yet.
    signal: AtomicBool,
    /// The lock of the wait queue on which a halted vCPU sleeps.
    queue: Mutex<()>,
    sleeper: Condvar,
    /// `kvm_run.immediate_exit`.
    immediate_exit: Cell,
    /// The last exit was I/O, which KVM completes when it is entered again.
    incomplete: Cell,
    /// Time has passed of which the guest's watchdog knows nothing.
    stood_still: Cell,
}

impl Kvm {
    /// So many vCPUs, and what the signal's handler does.
    pub fn new(vcpus: usize, handler: Handler) -> Self {
        let vcpu = || Vcpu {
            signal: AtomicBool::new(false),
            queue: Mutex::new(()),
            sleeper: Condvar::new(),
            immediate_exit: Cell::new(false),
            incomplete: Cell::new(false),
            stood_still: Cell::new(false),
        };
        Self { vcpus: (0..vcpus).map(|_| vcpu()).collect(), handler }
    }

    /// Sends the signal, as `tgkill(2)` does. Any thread.
    pub fn send_signal(&self, vcpu: usize) {
        let vcpu = &self.vcpus[vcpu];
        let queue = lock(&vcpu.queue);
        // Release: pairs with the acquiring swap in `user_mode`.
        vcpu.signal.store(true, Ordering::Release);
        vcpu.sleeper.notify_all();
        drop(queue);
    }

    /// A place in user mode at which the handler may run. Own thread.
    pub fn user_mode(&self, vcpu: usize) {
        let vcpu = &self.vcpus[vcpu];
        // Relaxed: an older value is a signal on its way. AcqRel: a delivery takes the signal away.
        if vcpu.signal.load(Ordering::Relaxed) && vcpu.signal.swap(false, Ordering::AcqRel) {
            match self.handler {
                Handler::Empty => {}
                Handler::StoreImmediateExit => vcpu.immediate_exit.store(true, Relaxed),
            }
        }
    }

    /// Stores `immediate_exit` from the thread's own code. Own thread.
    pub fn set_immediate_exit(&self, vcpu: usize, value: bool) {
        self.vcpus[vcpu].immediate_exit.store(value, Relaxed);
    }

    /// The vCPU stands still for some time. Own thread, or before there is one.
    pub fn stand_still(&self, vcpu: usize) {
        self.vcpus[vcpu].stood_still.store(true, Relaxed);
    }

    /// KVM_KVMCLOCK_CTRL: the guest is told when it is entered next. Any thread.
    pub fn tell_clock(&self, vcpu: usize) {
        self.vcpus[vcpu].stood_still.store(false, Relaxed);
    }

    /// KVM_RUN. Own thread.
    pub fn run(&self, index: usize, guest: Guest) -> Exit {
        self.user_mode(index);
        let vcpu = &self.vcpus[index];
        vcpu.incomplete.store(false, Relaxed);
        let exit =
            if vcpu.immediate_exit.load(Relaxed) { Exit::Interrupted } else { vcpu.enter(guest) };
        vcpu.incomplete.store(exit == Exit::Io, Relaxed);
        self.user_mode(index);
        exit
    }

    /// Whether an exit waits for its completion. Own thread, or one that knows it to be still.
    pub fn is_incomplete(&self, vcpu: usize) -> bool {
        self.vcpus[vcpu].incomplete.load(Relaxed)
    }

    /// Forgets the thread's signal and its `kvm_run`, as a new thread with a new vCPU has them.
    pub fn replace(&self, vcpu: usize) {
        let vcpu = &self.vcpus[vcpu];
        vcpu.signal.store(false, Ordering::Release);
        vcpu.immediate_exit.store(false, Relaxed);
        vcpu.incomplete.store(false, Relaxed);
        vcpu.stood_still.store(false, Relaxed);
    }
}

impl Vcpu {
    fn enter(&self, guest: Guest) -> Exit {
        assert!(!self.stood_still.load(Relaxed), "{NOT_TOLD}");
        let mut queue = lock(&self.queue);
        loop {
            // Relaxed: the sender stores it under the lock of the queue.
            if self.signal.load(Ordering::Relaxed) {
                return Exit::Interrupted;
            }
            if guest == Guest::Exits {
                return Exit::Io;
            }
            queue = wait(&self.sleeper, queue);
        }
    }
}
