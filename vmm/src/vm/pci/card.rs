//! One virtio function of a VM: the device, and where it is.

use devices::pci::Slot;
use devices::virtio::VirtioPci;
use serde::{Deserialize, Serialize};
use vcpu_state::sync::Arc;

use crate::host_devices::HostDevice;

/// Whether the operator wants a card to go.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vm) enum State {
    /// It is to stay.
    Plugged,
    /// The guest has been asked to let go of it.
    Leaving,
}

/// A device with its function and its place on the bus.
pub(in crate::vm) struct Card {
    pub(super) slot: Slot,
    pub(super) state: State,
    pub(super) host: Arc<HostDevice>,
    pub(super) function: Arc<VirtioPci>,
}

impl Card {
    /// The device's id.
    pub(in crate::vm) fn id(&self) -> &str {
        self.host.id()
    }

    /// Where it is, or was until the guest ejected it.
    pub(in crate::vm) fn slot(&self) -> Slot {
        self.slot
    }

    /// Whether the operator wants it to go.
    pub(in crate::vm) fn state(&self) -> State {
        self.state
    }

    /// The function.
    pub(in crate::vm) fn function(&self) -> &Arc<VirtioPci> {
        &self.function
    }

    /// Notes where it has come back after a restore.
    pub(in crate::vm) fn place(&mut self, slot: Slot, state: State) {
        (self.slot, self.state) = (slot, state);
    }
}
