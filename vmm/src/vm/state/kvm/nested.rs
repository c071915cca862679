//! What a vCPU has of guests of its own (KVM_GET_NESTED_STATE), where the host's KVM has such.
//!
//! The one thing here that is saved as KVM gives it: its layout is a part of the processor's virtualisation, with a format number in its header
//! (Documentation/virt/kvm/api.rst, KVM_GET_NESTED_STATE), and only the maker's own kind of host takes it.

use std::ptr;

use kvm_bindings::kvm_nested_state;
use kvm_ioctls::{Cap, KvmNestedStateBuffer, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::vm::KvmError;

/// Header and data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Nested(Vec<u8>);

/// Bytes of the header, which is always there.
const HEADER: usize = size_of::<kvm_nested_state>();
/// The most that there can be.
const MOST: usize = size_of::<KvmNestedStateBuffer>();

impl Nested {
    /// Whether vCPUs here have it.
    pub(super) fn is_there(vm: &VmFd) -> bool {
        vm.check_extension_int(Cap::NestedState) > 0
    }

    /// Reads it.
    pub(super) fn get(fd: &VcpuFd) -> Result<Self, KvmError> {
        let mut buffer = KvmNestedStateBuffer::empty();
        fd.nested_state(&mut buffer).map_err(KvmError::of("KVM_GET_NESTED_STATE"))?;
        let size = (buffer.size as usize).clamp(HEADER, MOST);
        let mut bytes = vec![0; size];
        // SAFETY: the buffer is plain, initialised data of `MOST` bytes, and `size` is no more; the vector has `size` bytes of its own.
        unsafe { ptr::copy_nonoverlapping((&raw const buffer).cast(), bytes.as_mut_ptr(), size) };
        Ok(Self(bytes))
    }

    /// Writes it: after the system registers and the lock of the features, before all else.
    pub(super) fn set(&self, fd: &VcpuFd) -> Result<(), Refusal> {
        let size = self.0.len();
        if !(HEADER..=MOST).contains(&size) {
            return Err(Refusal::Unfit(format!("its nested state has {size} bytes")));
        }
        let mut buffer = KvmNestedStateBuffer::empty();
        // SAFETY: the buffer is plain data, valid whatever its bytes are, of `MOST` bytes; the vector has `size`, which is no more.
        unsafe { ptr::copy_nonoverlapping(self.0.as_ptr(), (&raw mut buffer).cast(), size) };
        // KVM reads as much as the header says.
        if buffer.size as usize > MOST {
            return Err(Refusal::Unfit(
                "its nested state is longer than there is of it".to_owned(),
            ));
        }
        Ok(fd.set_nested_state(&buffer).map_err(KvmError::of("KVM_SET_NESTED_STATE"))?)
    }
}
