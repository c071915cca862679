//! KVM's part: vCPUs, interrupt controllers, clock.

use migration::format::{StateReader, StateWriter};

use super::StateError;
use crate::vm::{Still, Vm};

pub(super) fn save(_: &Vm, _: &Still, _: &mut StateWriter) -> Result<(), StateError> {
    Ok(())
}

pub(super) fn restore(_: &mut Vm, _: &mut StateReader<'_>) -> Result<(), StateError> {
    Ok(())
}
