//! What the kernel shares with user space about one vCPU: the `kvm_run` page.
//!
//! kvm-ioctls borrows the page mutably for each access; a kick must be able to store into it at any
//! time, and the size of one port access is not in its exits. This keeps the address.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::{KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, kvm_run};
use kvm_ioctls::VcpuFd;

use super::signal::Kickable;

/// The mapped `kvm_run` page of one vCPU. Lives no longer than the [`VcpuFd`] that mapped it: both
/// are owned by the vCPU's thread, which gives away the descriptor only in the end.
pub(super) struct RunPage {
    page: NonNull<kvm_run>,
}

/// `kvm_run.internal` and `kvm_run.fail_entry`, as far as they are filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FailureData {
    /// KVM_EXIT_INTERNAL_ERROR.
    Internal { suberror: u32, data: Vec<u64> },
    /// KVM_EXIT_FAIL_ENTRY.
    Entry { reason: u64, cpu: u32 },
    /// Another exit.
    Other { reason: u32 },
}

impl RunPage {
    pub(super) fn of(fd: &mut VcpuFd) -> Self {
        Self { page: NonNull::from(fd.get_kvm_run()) }
    }

    fn immediate_exit(&self) -> *const AtomicU8 {
        // SAFETY: the page is mapped (see the type), so the field's address may be taken; an
        // AtomicU8 has the layout of a u8.
        unsafe { (&raw const (*self.page.as_ptr()).immediate_exit).cast() }
    }

    /// Makes the next KVM_RUN return at once, or not. Relaxed: it is read by this thread (in the
    /// kernel) and written by this thread (here and in its signal handler).
    pub(super) fn set_immediate_exit(&self, exit: bool) {
        // SAFETY: see `immediate_exit`; the kernel and the handler access it as a single byte.
        unsafe { &*self.immediate_exit() }.store(u8::from(exit), Ordering::Relaxed);
    }

    /// Lets kicks of this thread store `immediate_exit`.
    ///
    /// # Safety
    /// The returned value is dropped before the vCPU's file descriptor, on this thread.
    pub(super) unsafe fn kickable(&self) -> Kickable {
        // SAFETY: the caller keeps the mapping until the value is dropped.
        unsafe { Kickable::new(self.immediate_exit()) }
    }

    /// Bytes of one access of the port exit that KVM_RUN returned with.
    pub(super) fn port_access_size(&self) -> usize {
        // SAFETY: the page is mapped, and every bit pattern is a valid `io`.
        usize::from(unsafe { (*self.page.as_ptr()).__bindgen_anon_1.io }.size).max(1)
    }

    /// The reason of the last exit.
    pub(super) fn exit_reason(&self) -> u32 {
        // SAFETY: the page is mapped.
        unsafe { (*self.page.as_ptr()).exit_reason }
    }

    /// What the kernel says about a failure.
    pub(super) fn failure(&self) -> FailureData {
        match self.exit_reason() {
            KVM_EXIT_INTERNAL_ERROR => {
                // SAFETY: the page is mapped, and every bit pattern is a valid `internal`.
                let internal = unsafe { (*self.page.as_ptr()).__bindgen_anon_1.internal };
                let count = (internal.ndata as usize).min(internal.data.len());
                FailureData::Internal {
                    suberror: internal.suberror,
                    data: internal.data[..count].to_vec(),
                }
            }
            KVM_EXIT_FAIL_ENTRY => {
                // SAFETY: the page is mapped, and every bit pattern is a valid `fail_entry`.
                let entry = unsafe { (*self.page.as_ptr()).__bindgen_anon_1.fail_entry };
                FailureData::Entry { reason: entry.hardware_entry_failure_reason, cpu: entry.cpu }
            }
            reason => FailureData::Other { reason },
        }
    }
}
