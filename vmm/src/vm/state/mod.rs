//! The state of a VM: saved as named units while it stands still, and given to a VM that was built for it.
//!
//! ```text
//!   Still ──save──▶ units: KVM's part, the devices' part ──restore──▶ a VM, built held and without a kernel ──resume──▶ …
//! ```
//!
//! Invariants: nothing is saved without the proof that the VM stands still; a restore takes every unit or fails, and a VM whose
//! restore failed is never let go.

mod devices;
mod error;
mod kvm;

pub use error::StateError;
pub(super) use kvm::MsrIndices;
pub(crate) use kvm::Rehearsal;
pub(super) use kvm::processors;
use migration::format::{StateReader, StateWriter};

use super::{Still, Vm};

impl Vm {
    /// Its state, without memory and configuration.
    ///
    /// # Errors
    /// KVM does not tell, or a unit cannot be encoded; the VM is as it was.
    pub(crate) fn save(&self, still: &Still) -> Result<Vec<u8>, StateError> {
        let mut units = StateWriter::new();
        // Before KVM is asked: an interrupt that is delivered now is part of what it says.
        devices::settle(self)?;
        kvm::save(self, still, &mut units)?;
        devices::save(self, still, &mut units)?;
        Ok(units.finish())
    }

    /// Measures what its saving and its restore will take, on a VM that was built for the state of another and waits for it.
    ///
    /// # Errors
    /// KVM does not tell, or takes not even what it has told.
    pub(crate) fn rehearse(&self) -> Result<Rehearsal, StateError> {
        let held = self.held.as_ref().ok_or(StateError::Running)?;
        kvm::rehearse(self, held)
    }

    /// Gives it the state of another, which had the same configuration. It has to be held since it was built; its memory has to be
    /// the other's already.
    ///
    /// # Errors
    /// The state is not that of such a VM, or KVM refuses it. The VM is of no use then.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), StateError> {
        let mut units = StateReader::parse(state)?;
        let Some(held) = self.held.take() else { return Err(StateError::Running) };
        let restored = self.restore_all(&held, &mut units);
        // Also after a failure: what is half another is not let go.
        self.held = Some(held);
        restored?;
        Ok(units.finish()?)
    }

    fn restore_all(
        &mut self,
        still: &Still,
        units: &mut StateReader<'_>,
    ) -> Result<(), StateError> {
        let waiting = kvm::restore(self, still, units)?;
        devices::restore(self, units)?;
        waiting.wait(self);
        Ok(())
    }
}
