//! The other end of a vCPU: for whoever saves it, or gives it the state of another, while its thread stands still.
//!
//! ```text
//!   KVM's vCPU ◀── descriptor of the thread: KVM_RUN, NMIs
//!        ▲
//!        └─────── descriptor of the handle: registers, while a `Still` is held
//! ```
//!
//! The thread owns its descriptor and lends it to nobody, so there is no lock between the two, and a thread that has ended takes nothing
//! with it. KVM lets one ioctl of a vCPU in at a time, whichever descriptor it comes by; a vCPU that stands still is in none, so
//! who uses the handle then waits for nobody, and nobody for it.
//!
//! Invariants: the handle is used with a [`Still`] of the VM in the hand, or before the vCPU has a thread; what a vCPU still has to wait for before
//! it may enter the guest is with its thread while that has entered its loop, and here while it has not, or has left it.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use crossbeam_queue::SegQueue;
use kvm_ioctls::{VcpuFd, VmFd};
use vcpu_state::Ticket;

use super::identity::Identity;
use crate::vm::{KvmError, Still};

/// A way to a vCPU beside its thread's.
pub struct VcpuHandle {
    fd: VcpuFd,
    identity: Identity,
    owed: SegQueue<Ticket>,
}

impl VcpuHandle {
    /// For a vCPU that has no thread yet.
    ///
    /// # Errors
    /// There is no room for another descriptor or mapping.
    pub(super) fn new(vm: &VmFd, vcpu: &VcpuFd, identity: Identity) -> Result<Self, KvmError> {
        Ok(Self { fd: another(vm, vcpu)?, identity, owed: SegQueue::new() })
    }

    /// KVM's vCPU, which stands still and has been told which processor it is.
    ///
    /// # Errors
    /// KVM does not take what it is told.
    pub(crate) fn still(&self, _: &Still) -> Result<&VcpuFd, KvmError> {
        self.tell_identity(&self.fd)?;
        Ok(&self.fd)
    }

    /// Tells KVM which processor it is, unless that has been done.
    ///
    /// # Errors
    /// KVM does not take it.
    pub(super) fn tell_identity(&self, fd: &VcpuFd) -> Result<(), KvmError> {
        self.identity.tell_once(fd)
    }

    /// Has its next thread wait for this before it enters the guest; the one that it has, too, if that has not been let go yet.
    pub(crate) fn owe(&self, ticket: Ticket) {
        self.owed.push(ticket);
    }

    /// Whether a thread that has not entered its loop has something to wait for.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The next that a thread has to wait for which enters its loop.
    pub(super) fn take_owed(&self) -> Option<Ticket> {
        self.owed.pop()
    }
}

/// One more descriptor of a vCPU.
fn another(vm: &VmFd, vcpu: &VcpuFd) -> Result<VcpuFd, KvmError> {
    // SAFETY: F_DUPFD_CLOEXEC has no memory preconditions; the descriptor is open, because `vcpu` lives.
    let number = unsafe { libc::fcntl(vcpu.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
    if number < 0 {
        let of = KvmError::of_vcpu_file("another descriptor of a vCPU");
        return Err(of(kvm_ioctls::Error::last()));
    }
    // SAFETY: the kernel has just made it, and nobody else knows it.
    let own = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: it is a vCPU of this VM, open, and this is its only owner from here on (also if the mapping fails).
    unsafe { vm.create_vcpu_from_rawfd(own.into_raw_fd()) }
        .map_err(KvmError::of("another mapping of a vCPU"))
}
