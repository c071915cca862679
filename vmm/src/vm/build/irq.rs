//! An interrupt line as an irqfd: a write to an eventfd that KVM turns into an edge.

use devices::interrupt::Interrupt;
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::BuildError;

/// An irqfd on one GSI.
pub(in crate::vm) struct IrqLine(EventFd);

impl IrqLine {
    /// Connects a new eventfd to `gsi`.
    pub(in crate::vm) fn new(
        vm: &VmFd,
        device: &'static str,
        gsi: u32,
    ) -> Result<Self, BuildError> {
        let failed = |reason| BuildError::Device { device, reason };
        let line = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
            .map_err(|error| failed(format!("no eventfd for its interrupt: {error}")))?;
        vm.register_irqfd(&line, gsi)
            .map_err(|error| failed(format!("KVM_IRQFD for GSI {gsi}: {error}")))?;
        Ok(Self(line))
    }
}

impl Interrupt for IrqLine {
    fn raise(&self) {
        // Fails only when 2⁶⁴ edges are pending: then one is pending.
        let _ = self.0.write(1);
    }
}
