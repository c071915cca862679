//! The devices' part: the bus and its cards, the controllers, what a PC has on fixed ports.
//!
//! ```text
//!   save:     settle ─▶ (KVM's part) ─▶ every device: save ─▶ its unit
//!   restore:  (KVM's part) ─▶ take all units ─▶ check all ─▶ restore all ─▶ arrange the bus ─▶ settle
//! ```
//!
//! *Settling* is a round of the PCI attendant: it has carried whatever the registers say to KVM (BARs, doorbells, routes), and delivered
//! what was pending on vectors that are open. After a restore it is what a vCPU would have waited for.
//!
//! Invariants: a unit that does not fit is found before any device is changed; every device that the configuration has takes its unit,
//! so that a unit too many or too few is an error; KVM's interrupt controllers are restored before a device interrupts.

mod cards;
mod units;

use migration::format::{StateReader, StateWriter};
use vcpu_state::Outcome;

use super::StateError;
use crate::vm::{PAUSE_DEADLINE, Still, Vm};
use cards::Bus;
use units::Fixed;

/// Waits until the PCI attendant has carried to KVM what the registers say.
pub(super) fn settle(vm: &Vm) -> Result<(), StateError> {
    let asked = vm.root.work().request();
    match vm.group.wait_ticket(&asked, PAUSE_DEADLINE) {
        Ok(Outcome::Done) => Ok(()),
        Ok(Outcome::Failed) | Err(_) => Err(StateError::Unsettled),
    }
}

pub(super) fn save(vm: &Vm, _: &Still, units: &mut StateWriter) -> Result<(), StateError> {
    Fixed::save(vm, units)?;
    Bus::save(vm, units)
}

pub(super) fn restore(vm: &mut Vm, units: &mut StateReader<'_>) -> Result<(), StateError> {
    let (fixed, bus) = (Fixed::take(vm, units)?, Bus::take(vm, units)?);
    fixed.check(vm)?;
    bus.check(vm)?;
    bus.restore(vm)?;
    settle(vm)?;
    bus.eject_again(vm);
    // The last: they interrupt.
    fixed.restore(vm)
}

/// Says whose state does not fit.
fn of(unit: impl Into<String>) -> impl FnOnce(devices::Unfit) -> StateError {
    let unit = unit.into();
    move |unfit| StateError::Unfit { unit, reason: unfit.to_string() }
}
