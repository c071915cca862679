//! The bus as it is saved: who is in which slot, and the bridge's registers.
//!
//! A machine that is restored was built with the same functions, in whatever slots were free. They are rearranged in one step, before
//! a vCPU runs: the table and the slots' states at once, then a round of the attendant, which finds every function where it is now, with
//! the BARs that its restored registers say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::functions::{Functions, Seat};
use super::slot::{Slot, SlotState};
use super::{PciSegment, SavedConfig};
use crate::bus::AddressSpace;
use crate::pci::config::{BarSpace, BarState};
use crate::pci::function::{BarIndex, PciFunction};
use crate::saved::Unfit;
use crate::sync::atomic::Ordering;

/// How a slot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Occupied {
    /// The guest sees a function.
    Present,
    /// It sees it, and has been asked to give it up.
    RemovalAsked,
    /// It sees a function that cannot be removed.
    Fixed,
}

impl Occupied {
    const fn state(self) -> SlotState {
        match self {
            Self::Present => SlotState::Present,
            Self::RemovalAsked => SlotState::RemovalAsked,
            Self::Fixed => SlotState::Fixed,
        }
    }
}

/// Where a function is to be.
#[derive(Clone)]
pub struct Place {
    /// The slot.
    pub slot: Slot,
    /// What is in it.
    pub function: Arc<dyn PciFunction>,
    /// How the slot is taken.
    pub occupied: Occupied,
}

impl PciSegment {
    /// How a slot is taken; `None` while it is not, which is also when the guest has given its function up.
    #[must_use]
    pub fn occupied(&self, slot: Slot) -> Option<Occupied> {
        match self.state(slot) {
            SlotState::Present => Some(Occupied::Present),
            SlotState::RemovalAsked => Some(Occupied::RemovalAsked),
            SlotState::Fixed => Some(Occupied::Fixed),
            SlotState::Empty | SlotState::Reserved | SlotState::Ejected => None,
        }
    }

    /// The bridge's registers.
    #[must_use]
    pub fn save_bridge(&self) -> SavedConfig {
        let functions = self.load();
        functions
            .visible(Slot::HOST_BRIDGE)
            .map_or_else(|| SavedConfig { words: Vec::new() }, |bridge| bridge.config().save())
    }

    /// Whether the bridge could have these registers.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check_bridge(&self, saved: &SavedConfig) -> Result<(), Unfit> {
        let functions = self.load();
        let bridge = functions.visible(Slot::HOST_BRIDGE);
        bridge.map_or(Ok(()), |bridge| bridge.config().check(saved))
    }

    /// Gives the bridge these registers.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn restore_bridge(&self, saved: &SavedConfig) -> Result<(), Unfit> {
        self.check_bridge(saved)?;
        if let Some(bridge) = self.load().visible(Slot::HOST_BRIDGE) {
            bridge.config().restore(saved);
        }
        Ok(())
    }

    /// Whether the functions of the bus can be in these places: all of them, each in a slot of its own.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check_places(&self, places: &[Place]) -> Result<(), Unfit> {
        let here = self.load();
        let others: Vec<_> = Slot::all().skip(1).filter_map(|slot| here.function(slot)).collect();
        Unfit::unless_same("the number of functions on the bus", &places.len(), &others.len())?;
        for (number, place) in places.iter().enumerate() {
            let refused = |reason| Unfit::Slot {
                slot: place.slot.number(),
                name: place.function.name().to_owned(),
                reason,
            };
            if place.slot == Slot::HOST_BRIDGE {
                return Err(refused("it is the host bridge's"));
            }
            if !others.iter().any(|other| Arc::ptr_eq(other, &place.function)) {
                return Err(refused("it is not on this bus"));
            }
            let before = &places[..number];
            if before.iter().any(|other| other.slot == place.slot) {
                return Err(refused("another function has it"));
            }
            if before.iter().any(|other| Arc::ptr_eq(&other.function, &place.function)) {
                return Err(refused("it is in another slot"));
            }
        }
        Ok(())
    }

    /// Puts every function into its place, and asks for a round. For a machine whose vCPUs have not run yet, its functions restored.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn arrange(&self, places: &[Place]) -> Result<(), Unfit> {
        self.check_places(places)?;
        let arranged = |functions: &Functions| {
            let bridge = Slot::all().skip(1);
            let empty = bridge.fold(functions.clone(), |table, slot| table.with(slot, Seat::Empty));
            let all = places.iter().fold(empty, |table, Place { slot, function, .. }| {
                table.with(*slot, Seat::Present(Arc::clone(function)))
            });
            Ok::<_, Unfit>(all)
        };
        self.change(arranged)?;
        for slot in Slot::all().skip(1) {
            let place = places.iter().find(|place| place.slot == slot);
            let state = place.map_or(SlotState::Empty, |place| place.occupied.state());
            if let Some(word) = self.slots.get(slot.index()) {
                // Release: pairs with the acquire in `state`.
                word.store(state.to_word(), Ordering::Release);
            }
        }
        drop(self.work.request());
        Ok(())
    }

    /// Whether the BARs of a function would answer within the windows, had it these registers. Those that answer nowhere may have any
    /// address.
    ///
    /// # Errors
    /// The first BAR that would not.
    pub fn check_bars(&self, function: &dyn PciFunction, saved: &SavedConfig) -> Result<(), Unfit> {
        for (index, bar) in function.config().bars_of(saved) {
            if let Some(at) = bar.answers_at()
                && !self.has_window(bar, at)
            {
                let BarIndex(bar_index) = index;
                let name = function.name().to_owned();
                return Err(Unfit::Window { name, bar: bar_index, at, len: bar.len });
            }
        }
        Ok(())
    }

    fn has_window(&self, bar: BarState, at: u64) -> bool {
        fn within<S: AddressSpace>(window: crate::bus::AddressRange<S>, at: u64, len: u64) -> bool {
            let last = at.checked_add(len - 1);
            window.first() <= at && last.is_some_and(|last| last <= window.last())
        }
        let windows = &self.windows;
        match bar.space {
            BarSpace::Io => within(windows.io, at, bar.len),
            BarSpace::Memory32 | BarSpace::Memory64 => {
                within(windows.memory32, at, bar.len) || within(windows.memory64, at, bar.len)
            }
        }
    }
}
