//! The PCI attendant: one thread that makes the world agree with the registers of all functions.
//!
//! ```text
//!   bell ─▶ begin round ─▶ who comes, who leaves ─▶ BARs ─▶ doorbells ─▶ MSI-X routes, PciFunction::reconcile ─▶ complete
//!     ▲                                                                                                │
//!     └────────────────────────────── nothing asked: wait ◀────────────────────────────────────────────┘
//! ```
//!
//! A round does the same whoever asked for it: it looks at everything, and changes what differs. So it does not
//! matter which of two vCPUs wrote last, or what was written between two rounds.
//!
//! # How BARs move
//!
//! 1. Those that are to move lose their doorbells: writes exit, and reach the bus.
//! 2. Those that are to answer nowhere are retired.
//! 3. Those that are to answer elsewhere move in one step each, in whatever order there is room.
//! 4. What is left waits for another's place: all of these are retired, then published.
//! 5. Those that answer get their doorbells.
//!
//! Invariants: a BAR never answers at two places; it answers at none only if the registers say so, or
//! another device answers where it should (that is counted, and tried again in every round), or between
//! step 4's two halves. An address reaches the function that answers there, or nobody.
mod buses;
mod placed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use vcpu_state::{Attendant, Outcome};

use super::function::PciFunction;
use super::platform::PciPlatform;
use super::segment::{PciSegment, Seat, Slot};
use crate::bus::{Bus, Mmio, Pio};
use buses::Buses;
use placed::{Course, Placed};

/// Who is told that a function is gone.
pub trait PciObserver: Send + Sync {
    /// Nothing answers for the function any longer, and its slot is empty. Called by the attendant's thread.
    fn removed(&self, slot: Slot, function: Arc<dyn PciFunction>);
}

/// What the attendant changes.
pub struct PciWorld {
    /// Where memory BARs answer.
    pub mmio: Arc<Bus<Mmio>>,
    /// Where I/O BARs answer.
    pub pio: Arc<Bus<Pio>>,
    /// The hypervisor.
    pub platform: Arc<dyn PciPlatform>,
    /// Who is told about functions that are gone.
    pub observer: Arc<dyn PciObserver>,
}

struct World {
    buses: Buses,
    platform: Arc<dyn PciPlatform>,
    observer: Arc<dyn PciObserver>,
}

/// A function that the attendant serves.
struct Served {
    function: Arc<dyn PciFunction>,
    bars: Vec<Placed>,
}

/// The attendant. Dropping it fails what was asked of it, and all that will be.
pub struct PciAttendant {
    segment: Arc<PciSegment>,
    attendant: Attendant,
    world: World,
    served: [Option<Served>; Slot::COUNT as usize],
}

impl PciAttendant {
    pub(super) fn new(segment: Arc<PciSegment>, attendant: Attendant, world: PciWorld) -> Self {
        let PciWorld { mmio, pio, platform, observer } = world;
        let world = World { buses: Buses { mmio, pio }, platform, observer };
        Self { segment, attendant, world, served: std::array::from_fn(|_| None) }
    }

    /// Serves until [`PciSegment::stop`].
    pub fn run(mut self) {
        loop {
            // The generation first: what is asked after the look below ends the wait.
            let generation = self.segment.bell().load();
            if self.segment.is_stopping() {
                return;
            }
            if !self.round() {
                self.segment.bell().wait(generation, None);
            }
        }
    }

    /// One round, if one was asked for: for callers with a loop of their own.
    pub fn round(&mut self) -> bool {
        let Some(round) = self.attendant.begin() else { return false };
        self.admit_and_dismiss();
        self.place_bars();
        for served in self.served.iter().flatten() {
            if let Some(msix) = served.function.msix() {
                msix.reconcile(|| served.function.config().msix_control());
            }
            served.function.reconcile();
        }
        round.complete(Outcome::Done);
        true
    }

    /// Takes note of the functions that have come, and takes those apart that leave.
    fn admit_and_dismiss(&mut self) {
        let changes = self.changes();
        // First whatever is no longer where it was, so that its addresses are free for whoever is there now.
        for (slot, _) in &changes {
            let place = self.served.get_mut(slot.index()).and_then(Option::take);
            let bars = place.into_iter().flat_map(|served| served.bars);
            bars.for_each(|mut bar| bar.retire(&self.world));
        }
        for (slot, seat) in changes {
            match seat {
                Seat::Present(function) => {
                    let bars = Placed::of(&function);
                    if let Some(place) = self.served.get_mut(slot.index()) {
                        *place = Some(Served { function, bars });
                    }
                }
                Seat::Leaving(function) => {
                    if let Some(msix) = function.msix() {
                        msix.retire();
                    }
                    self.segment.free(slot);
                    self.world.observer.removed(slot, function);
                }
                Seat::Empty => {}
            }
        }
    }

    /// The slots whose functions have come or are to leave, by one look at the table: what changes after it is
    /// another round's. The table itself is let go of, and with it whatever it would keep alive.
    fn changes(&self) -> Vec<(Slot, Seat)> {
        let functions = self.segment.load();
        Slot::all()
            .zip(&self.served)
            .map(|(slot, served)| (slot, served, functions.seat(slot)))
            .filter(|(_, served, seat)| match seat {
                // Another one than before only where functions were rearranged for a restore.
                Seat::Present(function) => {
                    served.as_ref().is_none_or(|served| !Arc::ptr_eq(&served.function, function))
                }
                Seat::Leaving(_) => true,
                Seat::Empty => served.is_some(),
            })
            .map(|(slot, _, seat)| (slot, seat.clone()))
            .collect()
    }

    /// Lets BARs answer where the registers say.
    fn place_bars(&mut self) {
        let (world, segment) = (&self.world, &self.segment);
        let bars = self.served.iter_mut().flatten().flat_map(|served| &mut served.bars);
        let (mut moving, mut staying) = (Vec::new(), Vec::new());
        for bar in bars {
            match bar.course() {
                Course::To(to) => {
                    bar.silence(world);
                    moving.push((to, bar));
                }
                Course::Away => bar.retire(world),
                Course::Stay => staying.push(bar),
            }
        }
        // Every turn moves one at least, so there are no more turns than BARs.
        loop {
            let before = moving.len();
            let (moved, left): (Vec<_>, Vec<_>) = moving
                .into_iter()
                .map(|(to, bar)| (bar.relocate(world, to), to, bar))
                .partition(|(moved, ..)| *moved);
            staying.extend(moved.into_iter().map(|(.., bar)| bar));
            moving = left.into_iter().map(|(_, to, bar)| (to, bar)).collect();
            if moving.len() == before {
                break;
            }
        }
        moving.iter_mut().filter(|(_, bar)| bar.is_placed()).for_each(|(_, bar)| bar.retire(world));
        for (to, bar) in moving {
            bar.publish(world, segment, to);
            staying.push(bar);
        }
        for bar in staying {
            bar.listen(world, segment);
        }
    }
}
