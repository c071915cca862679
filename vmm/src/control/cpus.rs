//! Requests about the number of vCPUs.
//!
//! The configuration says how many the VM is to have, `vm.info` which ones the guest has or has not let go of. A VM that boots again, by
//! a reset of the guest's or of its user's, boots with the number that was asked for last.

use super::ControlError;
use super::owner::Owner;
use super::phase::Phase;
use crate::config::{ResizeConfig, VmConfig};
use crate::vm::{ResizeError, VcpuChange};

impl From<ResizeError> for ControlError {
    fn from(error: ResizeError) -> Self {
        match error {
            ResizeError::Pending { .. } => Self::UnplugPending(error.to_string()),
            ResizeError::Seat(_) => Self::Failed(error.to_string()),
        }
    }
}

impl Owner {
    /// Does all of a resize's part about vCPUs that can fail. Of a VM that does not run, only what asks for no change can be granted: a guest that
    /// stands still cannot be asked for anything.
    pub(super) fn prepare_vcpus(
        &mut self,
        config: &VmConfig,
        resize: &ResizeConfig,
    ) -> Result<Option<VcpuChange>, ControlError> {
        let Some(desired) = resize.desired_vcpus else { return Ok(None) };
        let current = config.cpus.boot_vcpus;
        match (self.published.phase(), &mut self.vm) {
            (Phase::Running, Some(vm)) => Ok(Some(vm.prepare_vcpus(current, desired)?)),
            _ if desired == current => Ok(None),
            (phase, _) => Err(phase.state().map_or(ControlError::NotCreated, |state| {
                let action = "change the number of vCPUs of";
                ControlError::WrongPhase { action, state, needed: "Running" }
            })),
        }
    }

    /// Shows the guest what was prepared.
    pub(super) fn commit_vcpus(&mut self, change: Option<VcpuChange>) {
        if let (Some(change), Some(vm)) = (change, &mut self.vm) {
            vm.commit_vcpus(change);
        }
    }

    /// Takes back what was prepared.
    pub(super) fn abandon_vcpus(&mut self, change: Option<VcpuChange>) {
        if let (Some(change), Some(vm)) = (change, &mut self.vm) {
            vm.abandon_vcpus(change);
        }
    }
}
