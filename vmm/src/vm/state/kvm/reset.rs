//! What a vCPU has that has never run: KVM's reset values. They are the same in all vCPUs of a VM, and often what is to be written; then
//! nothing is, which saves calls of some ten microseconds each while the VM stands still.
//!
//! Invariant: it is read of a vCPU that has not been written, and used for others that have not been written either. Both hold in
//! a VM that is being restored, once, by the thread that restores it.

use kvm_ioctls::VcpuFd;

use super::fpu::Fpu;
use super::nested::Nested;
use super::registers::{Debug, Events, Xcr};
use super::vcpu::{Forms, get_debug, get_events, get_xcrs};
use crate::vm::KvmError;

/// What is worth a look.
#[derive(Debug)]
pub(super) struct Reset {
    pub(super) xcrs: Vec<Xcr>,
    pub(super) fpu: Fpu,
    pub(super) debug: Option<Debug>,
    pub(super) events: Events,
    pub(super) nested: Option<Nested>,
}

impl Reset {
    /// Reads it of a vCPU that nobody has written.
    pub(super) fn of(fd: &VcpuFd, forms: Forms) -> Result<Self, KvmError> {
        Ok(Self {
            xcrs: if forms.has_xcrs { get_xcrs(fd)? } else { Vec::new() },
            fpu: Fpu::get(fd, forms.fpu)?,
            debug: get_debug(fd, forms)?,
            events: get_events(fd)?,
            nested: forms.has_nested.then(|| Nested::get(fd)).transpose()?,
        })
    }
}
