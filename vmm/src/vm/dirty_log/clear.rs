//! `KVM_CLEAR_DIRTY_LOG`, which kvm-ioctls does not have (Linux Documentation/virt/kvm/api.rst, 4.117).

use std::os::fd::AsRawFd;

use kvm_bindings::{KVMIO, kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1};
use kvm_ioctls::VmFd;
use vmm_sys_util::errno;

vmm_sys_util::ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xC0, kvm_clear_dirty_log);

/// A part of a slot's bitmap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'b> {
    pub(super) slot: u32,
    /// Its first page in the slot: a multiple of 64.
    pub(super) first: u64,
    /// Pages: a multiple of 64, or all to the slot's end.
    pub(super) count: u64,
    /// A bit each.
    pub(super) bits: &'b [u64],
}

/// Forgets the pages whose bits are set, and has KVM note when they are written again.
pub(super) fn clear(vm: &VmFd, piece: Piece<'_>) -> Result<(), kvm_ioctls::Error> {
    let Piece { slot, first, count, bits } = piece;
    let num_pages = u32::try_from(count).map_err(|_| errno::Error::new(libc::EINVAL))?;
    if count.div_ceil(64) > bits.len() as u64 {
        return Err(errno::Error::new(libc::EINVAL));
    }
    let request = kvm_clear_dirty_log {
        slot,
        num_pages,
        first_page: first,
        __bindgen_anon_1: kvm_clear_dirty_log__bindgen_ty_1 {
            dirty_bitmap: bits.as_ptr().cast_mut().cast(),
        },
    };
    // SAFETY: the descriptor is a VM's. KVM reads the request, and of the bitmap one word for each 64 pages or part of them, which
    // are there; it writes to neither.
    let done = unsafe { libc::ioctl(vm.as_raw_fd(), KVM_CLEAR_DIRTY_LOG(), &raw const request) };
    if done == 0 { Ok(()) } else { Err(errno::Error::last()) }
}
