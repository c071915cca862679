//! Which function answers in which slot: an immutable table, which is replaced.

use std::sync::Arc;

use super::slot::Slot;
use crate::pci::function::PciFunction;

/// What is in a slot.
#[derive(Clone)]
pub(in crate::pci) enum Seat {
    /// Nothing.
    Empty,
    /// A function that the guest sees.
    Present(Arc<dyn PciFunction>),
    /// One that it does not see any longer, and that may still answer in its BARs.
    Leaving(Arc<dyn PciFunction>),
}

/// The table.
#[derive(Clone)]
pub(in crate::pci) struct Functions {
    seats: [Seat; Slot::COUNT as usize],
}

impl Functions {
    pub(super) fn of_host_bridge(bridge: Arc<dyn PciFunction>) -> Self {
        let mut seats = std::array::from_fn(|_| Seat::Empty);
        seats[Slot::HOST_BRIDGE.index()] = Seat::Present(bridge);
        Self { seats }
    }

    pub(in crate::pci) fn seat(&self, slot: Slot) -> &Seat {
        self.seats.get(slot.index()).unwrap_or(&Seat::Empty)
    }

    /// The function that the guest sees in a slot.
    pub(super) fn visible(&self, slot: Slot) -> Option<&dyn PciFunction> {
        match self.seat(slot) {
            Seat::Present(function) => Some(&**function),
            Seat::Leaving(_) | Seat::Empty => None,
        }
    }

    /// The function that the guest sees in a slot, to be kept.
    pub(super) fn function(&self, slot: Slot) -> Option<Arc<dyn PciFunction>> {
        match self.seat(slot) {
            Seat::Present(function) => Some(Arc::clone(function)),
            Seat::Leaving(_) | Seat::Empty => None,
        }
    }

    /// Every function, those that leave included.
    pub(super) fn all(&self) -> impl Iterator<Item = &dyn PciFunction> {
        self.seats.iter().filter_map(|seat| match seat {
            Seat::Present(function) | Seat::Leaving(function) => Some(&**function),
            Seat::Empty => None,
        })
    }

    /// This table with another occupant of a slot.
    pub(super) fn with(&self, slot: Slot, seat: Seat) -> Self {
        let mut next = self.clone();
        if let Some(place) = next.seats.get_mut(slot.index()) {
            *place = seat;
        }
        next
    }
}
