//! What KVM has to be told of a vCPU before it runs: which processor it is.
//!
//! On some hosts that takes as long as making the vCPU did. A vCPU that waits for its INIT does not need
//! it yet, so its own thread says it, before it enters the guest for the first time, while the guest boots.
//!
//! Invariant: no memory is allocated or freed for it on a vCPU's thread while that runs. The heap has locks,
//! and among hundreds of threads that have just been let go one that holds such a lock may wait long
//! for a processor, and the API's threads would wait with it.

use kvm_bindings::{CpuId, Msrs};
use kvm_ioctls::VcpuFd;
use vcpu_state::sync::Arc;

use crate::vm::KvmError;

/// A vCPU's CPUID table, and the model-specific registers that every vCPU starts with.
pub struct Identity {
    cpuid: CpuId,
    msrs: Arc<Msrs>,
    told: bool,
}

impl Identity {
    /// KVM has not been told it yet.
    #[must_use]
    pub fn new(cpuid: CpuId, msrs: Arc<Msrs>) -> Self {
        Self { cpuid, msrs, told: false }
    }

    /// Tells KVM, unless that has been done.
    ///
    /// # Errors
    /// KVM does not take it.
    pub fn tell_once(&mut self, fd: &VcpuFd) -> Result<(), KvmError> {
        if self.told {
            return Ok(());
        }
        fd.set_cpuid2(&self.cpuid).map_err(KvmError::of("KVM_SET_CPUID2"))?;
        let set = fd.set_msrs(&self.msrs).map_err(KvmError::of("KVM_SET_MSRS"))?;
        // KVM stops at the first that it does not take.
        if let Some(refused) = self.msrs.as_slice().get(set) {
            return Err(KvmError::Msr { index: refused.index });
        }
        self.told = true;
        Ok(())
    }
}
