//! Guest RAM as KVM's memory slots: one for each region, numbered in their order.
//!
//! Invariant: a slot is where it was made for as long as its VM; only whether KVM logs writes to it changes.

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;

use super::KvmError;
use crate::memory::{GuestRam, RamRegion};

/// Whether KVM logs which pages of a slot the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logging {
    Off,
    On,
}

/// The slots of a VM's RAM.
pub(super) fn of(ram: &GuestRam) -> impl Iterator<Item = (u32, RamRegion)> {
    (0..).zip(ram.regions())
}

/// Makes the slots, or changes whether they are logged.
pub(super) fn set(vm: &VmFd, ram: &GuestRam, logging: Logging) -> Result<(), KvmError> {
    for (slot, region) in of(ram) {
        let flags = match logging {
            Logging::Off => 0,
            Logging::On => KVM_MEM_LOG_DIRTY_PAGES,
        };
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: region.gpa.0,
            memory_size: region.size,
            userspace_addr: region.host_address,
        };
        // SAFETY: the region is mapped for as long as `ram`, which the VM's `Machine` holds; if the
        // VM outlived it, KVM would see the unmapping (MMU notifiers) and fault, not touch freed memory.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(KvmError::of("KVM_SET_USER_MEMORY_REGION"))?;
    }
    Ok(())
}
