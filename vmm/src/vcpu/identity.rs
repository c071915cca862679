//! What KVM has to be told of a vCPU before it runs: which processor it is.
//!
//! On some hosts that takes as long as making the vCPU did. A vCPU that waits for its INIT does not need
//! it yet, so its own thread says it, before it enters the guest for the first time, while the guest boots. Who saves
//! a vCPU whose thread has not come to that says it before; a vCPU that is to be restored is told when it is made.
//!
//! Invariants: no memory is allocated or freed for it on a vCPU's thread while that runs. The heap has locks,
//! and among hundreds of threads that have just been let go one that holds such a lock may wait long
//! for a processor, and the API's threads would wait with it. Of the thread and a saver one is at it at a time: a saver holds the thread.

use kvm_bindings::{CpuId, Msrs};
use kvm_ioctls::VcpuFd;
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicBool, Ordering};

use crate::vm::KvmError;

/// A vCPU's CPUID table, and the model-specific registers that every vCPU starts with.
pub struct Identity {
    cpuid: CpuId,
    msrs: Arc<Msrs>,
    told: AtomicBool,
}

impl Identity {
    /// KVM has not been told it yet.
    #[must_use]
    pub fn new(cpuid: CpuId, msrs: Arc<Msrs>) -> Self {
        Self { cpuid, msrs, told: AtomicBool::new(false) }
    }

    /// Tells KVM, unless that has been done.
    ///
    /// # Errors
    /// KVM does not take it.
    pub fn tell_once(&self, fd: &VcpuFd) -> Result<(), KvmError> {
        // Relaxed: the thread and a saver come here in turns, which the vCPU's word orders.
        if self.told.load(Ordering::Relaxed) {
            return Ok(());
        }
        fd.set_cpuid2(&self.cpuid).map_err(KvmError::of("KVM_SET_CPUID2"))?;
        let set = fd.set_msrs(&self.msrs).map_err(KvmError::of("KVM_SET_MSRS"))?;
        // KVM stops at the first that it does not take.
        if let Some(refused) = self.msrs.as_slice().get(set) {
            return Err(KvmError::Msr { index: refused.index });
        }
        self.told.store(true, Ordering::Relaxed);
        Ok(())
    }
}
