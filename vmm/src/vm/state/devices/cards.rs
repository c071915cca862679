//! The units of the PCI bus: the bus itself, every virtio device, the watchdog.
//!
//! A card comes back in the slot that it had, whatever slot it was built into: guests know functions by their slots. One that the guest
//! has ejected, but that has not been taken apart yet, is put where it was and ejected once more, so that its owner hears of it.

use devices::Unfit;
use devices::pci::{Occupied, PciFunction, Place, SavedConfig, SavedHotplug, Slot};
use devices::virtio::SavedVirtioPci;
use devices::watchdog::SavedWatchdog;
use migration::format::{StateReader, StateWriter, Unit};
use serde::{Deserialize, Serialize};
use vcpu_state::sync::Arc;

use super::of;
use crate::vm::Vm;
use crate::vm::pci::{Card, CardState};
use crate::vm::state::StateError;

#[derive(Serialize, Deserialize)]
struct PciUnit {
    /// CONFIG_ADDRESS.
    address: u32,
    bridge: SavedConfig,
    hotplug: SavedHotplug,
}

impl Unit for PciUnit {
    const KIND: &'static str = "pci";
    const VERSION: u16 = 1;
}

/// A virtio device; the instance is its id.
#[derive(Serialize, Deserialize)]
struct CardUnit {
    slot: u8,
    /// `None`: the guest has ejected it.
    occupied: Option<Occupied>,
    state: CardState,
    function: SavedVirtioPci,
}

impl Unit for CardUnit {
    const KIND: &'static str = "virtio";
    const VERSION: u16 = 1;
}

#[derive(Serialize, Deserialize)]
struct WatchdogUnit {
    slot: u8,
    function: SavedWatchdog,
}

impl Unit for WatchdogUnit {
    const KIND: &'static str = "watchdog";
    const VERSION: u16 = 1;
}

/// All of these, taken.
pub(super) struct Bus {
    pci: PciUnit,
    /// In the order of the VM's cards.
    cards: Vec<CardUnit>,
    watchdog: Option<WatchdogUnit>,
}

impl Bus {
    pub(super) fn save(vm: &Vm, units: &mut StateWriter) -> Result<(), StateError> {
        let root = &vm.root;
        units.put(&PciUnit {
            address: root.ports().address(),
            bridge: root.segment().save_bridge(),
            hotplug: root.hotplug().save(),
        })?;
        for card in vm.cards.iter() {
            let unit = CardUnit {
                slot: card.slot().number(),
                occupied: root.segment().occupied(card.slot()),
                state: card.state(),
                function: card.function().save(),
            };
            units.put_instance(card.id(), &unit)?;
        }
        if let Some(watchdog) = &vm.watchdog {
            let (slot, function) = (watchdog.slot().number(), watchdog.function().save());
            units.put(&WatchdogUnit { slot, function })?;
        }
        Ok(())
    }

    pub(super) fn take(vm: &Vm, units: &mut StateReader<'_>) -> Result<Self, StateError> {
        let cards = vm.cards.iter().map(|card| units.take_instance(card.id()));
        let cards = cards.collect::<Result<_, _>>()?;
        let watchdog = vm.watchdog.is_some().then(|| units.take()).transpose()?;
        Ok(Self { pci: units.take()?, cards, watchdog })
    }

    /// Whether all of them fit.
    pub(super) fn check(&self, vm: &Vm) -> Result<(), StateError> {
        let segment = vm.root.segment();
        segment.check_bridge(&self.pci.bridge).map_err(of(PciUnit::KIND))?;
        for (card, unit) in vm.cards.iter().zip(&self.cards) {
            let function = card.function();
            function.check(&unit.function).map_err(of(name(card)))?;
            segment.check_bars(&**function, &unit.function.config).map_err(of(name(card)))?;
        }
        if let Some((watchdog, unit)) = vm.watchdog.as_ref().zip(self.watchdog.as_ref()) {
            let function = watchdog.function();
            function.check(&unit.function).map_err(of(WatchdogUnit::KIND))?;
            let config = &unit.function.config;
            segment.check_bars(&**function, config).map_err(of(WatchdogUnit::KIND))?;
        }
        segment.check_places(&self.places(vm)?).map_err(of(PciUnit::KIND))
    }

    pub(super) fn restore(&self, vm: &mut Vm) -> Result<(), StateError> {
        let places = self.places(vm)?;
        for (card, unit) in vm.cards.iter_mut().zip(&self.cards) {
            card.function().restore(&unit.function).map_err(of(name(card)))?;
            card.place(slot(unit.slot).map_err(of(name(card)))?, unit.state);
        }
        if let Some((watchdog, unit)) = vm.watchdog.as_mut().zip(self.watchdog.as_ref()) {
            watchdog.function().restore(&unit.function).map_err(of(WatchdogUnit::KIND))?;
            watchdog.place(slot(unit.slot).map_err(of(WatchdogUnit::KIND))?);
        }
        let root = &vm.root;
        root.segment().restore_bridge(&self.pci.bridge).map_err(of(PciUnit::KIND))?;
        root.segment().arrange(&places).map_err(of(PciUnit::KIND))?;
        root.hotplug().restore(self.pci.hotplug);
        root.ports().restore(self.pci.address);
        Ok(())
    }

    /// Has those leave once more that the guest had ejected.
    pub(super) fn eject_again(&self, vm: &Vm) {
        for (card, _) in
            vm.cards.iter().zip(&self.cards).filter(|(_, unit)| unit.occupied.is_none())
        {
            // It was put there just now.
            let _ = vm.root.segment().remove(card.slot());
        }
    }

    /// Where every function of the bus is to be.
    fn places(&self, vm: &Vm) -> Result<Vec<Place>, StateError> {
        let mut places = Vec::new();
        for (card, unit) in vm.cards.iter().zip(&self.cards) {
            places.push(Place {
                slot: slot(unit.slot).map_err(of(name(card)))?,
                function: Arc::clone(card.function()) as Arc<dyn PciFunction>,
                occupied: match unit.occupied {
                    Some(Occupied::Fixed) => {
                        return Err(of(name(card))(Unfit::impossible("its slot", Occupied::Fixed)));
                    }
                    Some(occupied) => occupied,
                    None => Occupied::Present,
                },
            });
        }
        if let Some((watchdog, unit)) = vm.watchdog.as_ref().zip(self.watchdog.as_ref()) {
            places.push(Place {
                slot: slot(unit.slot).map_err(of(WatchdogUnit::KIND))?,
                function: Arc::clone(watchdog.function()) as Arc<dyn PciFunction>,
                occupied: Occupied::Fixed,
            });
        }
        Ok(places)
    }
}

/// The name of a card's unit.
fn name(card: &Card) -> String {
    format!("{}/{}", CardUnit::KIND, card.id())
}

fn slot(number: u8) -> Result<Slot, Unfit> {
    Slot::new(number).ok_or_else(|| Unfit::impossible("the number of a PCI slot", number))
}
