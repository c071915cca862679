//! What the vCPU threads of a VM share: RAM, the buses, counters. Nothing in it can be waited for.

use arc_swap::ArcSwap;
use devices::CounterSource;
use devices::bus::{Bus, Mmio, Pio};
use vcpu_state::sync::Arc;

use super::power::PowerRequests;
use crate::memory::GuestRam;
use crate::vcpu::ExitCounters;

/// A device's name in `vm.counters`, and the device.
pub type Counted = (String, Arc<dyn CounterSource>);

/// The machine as its vCPUs reach it from an exit.
pub struct Machine {
    /// Guest RAM.
    pub ram: GuestRam,
    /// I/O ports.
    pub pio: Arc<Bus<Pio>>,
    /// Guest-physical addresses without RAM.
    pub mmio: Arc<Bus<Mmio>>,
    /// Exits by kind.
    pub exits: ExitCounters,
    /// Power-off and reset, as asked by the guest.
    pub power: Arc<PowerRequests>,
    /// Devices that count what they do, by their names in `vm.counters`.
    pub devices: ArcSwap<Vec<Counted>>,
}
