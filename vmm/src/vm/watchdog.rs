//! The watchdog of a VM: a function on the bus that stays. Its clock is among the devices' workers.

use devices::CounterSource;
use devices::pci::{InsertError, PciFunction, Slot};
use devices::watchdog::{Past, Watchdog, WatchdogError};
use vcpu_state::sync::Arc;

use super::Counted;
use super::pci::PciRoot;
use super::power::PowerRequests;
use crate::config::WATCHDOG_ID;

/// A VM cannot have its watchdog.
#[derive(Debug, thiserror::Error)]
pub enum NoWatchdog {
    /// It cannot be made.
    #[error("watchdog: {0}")]
    Function(#[from] WatchdogError),
    /// There is no place on the bus.
    #[error("watchdog: {0}")]
    Bus(#[from] InsertError),
}

/// One that resets the machine through `power` when the guest's time is up.
///
/// # Errors
/// The host has no descriptor left.
pub(super) fn make(past: Past, power: &Arc<PowerRequests>) -> Result<Arc<Watchdog>, NoWatchdog> {
    Ok(Arc::new(Watchdog::new(past, Arc::clone(power) as _)?))
}

/// A watchdog that the guest can see.
pub(super) struct PlacedWatchdog {
    function: Arc<Watchdog>,
    slot: Slot,
}

impl PlacedWatchdog {
    /// Puts it on the bus, where a guest cannot eject it.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn plug(function: Arc<Watchdog>, root: &PciRoot) -> Result<Self, NoWatchdog> {
        let slot = root.insert_fixed(&(Arc::clone(&function) as Arc<dyn PciFunction>))?;
        Ok(Self { function, slot })
    }

    /// Where it is.
    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// The function.
    pub(super) fn function(&self) -> &Arc<Watchdog> {
        &self.function
    }

    /// Notes where it has come back after a restore.
    pub(super) fn place(&mut self, slot: Slot) {
        self.slot = slot;
    }

    /// What counts, by its name in `vm.counters`.
    pub(super) fn counted(&self) -> Counted {
        (WATCHDOG_ID.to_owned(), Arc::clone(&self.function) as Arc<dyn CounterSource>)
    }
}
