//! The PCI segment: bus 0 with 32 slots, a function 0 in each that is taken.
//!
//! ```text
//!   ECAM ────────┐                       ┌─▶ ConfigSpace
//!                ├─▶ PciSegment ─ load ──┼─▶ PciFunction::config_written, Msix
//!   0xCF8/0xCFC ─┘        │              └─▶ WorkItem ──▶ Ticket (BARs, command, MSI-X control)
//!                         ▼
//!        Functions (immutable, replaced)  ◀── insert / remove
//! ```
//!
//! Invariants:
//! - Both ways into the configuration space are one from here on.
//! - A function becomes visible last: with its BARs placed, in one step. It becomes invisible first: its
//!   slot is used again only when nothing answers for it any longer.
//! - A write that changes where a BAR answers is done when it does: its ticket is answered by a round of
//!   the attendant that began after the write. Whatever order two vCPUs write in, the last round sees
//!   what the registers say in the end.
mod access;
mod ecam;
mod error;
mod functions;
mod host_bridge;
mod ports;
mod saved;
mod seating;
mod slot;
#[cfg(test)]
mod tests;
mod windows;

use std::sync::Arc;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Group, WorkItem};

pub use ecam::Ecam;
pub use error::{InsertError, NotRemovable};
pub use ports::ConfigPorts;
pub use saved::{Occupied, Place};
pub use slot::{Slot, SlotState};
pub use windows::PciWindows;

pub(super) use functions::{Functions, Seat};

use super::attendant::{PciAttendant, PciWorld};
use super::config::SavedConfig;
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{ArcSwap, Guard};
use access::ConfigAddress;
use host_bridge::HostBridge;

/// The segment.
pub struct PciSegment {
    functions: ArcSwap<Functions>,
    slots: [AtomicU32; Slot::COUNT as usize],
    windows: PciWindows,
    work: Arc<WorkItem>,
    bell: Arc<FutexWord>,
    stopping: AtomicBool,
    absent_reads: AtomicU64,
    absent_writes: AtomicU64,
    undefined: AtomicU64,
    ejections_refused: AtomicU64,
    pub(super) bars_refused: AtomicU64,
    pub(super) doorbells_refused: AtomicU64,
}

impl PciSegment {
    /// A segment with its host bridge, and the attendant that a thread of the caller's must run. Members of
    /// `group` wait for its tickets.
    pub fn new(
        group: &Arc<Group>,
        windows: PciWindows,
        world: PciWorld,
    ) -> (Arc<Self>, PciAttendant) {
        let bell = Arc::new(FutexWord::new(0));
        let (work, attendant) = WorkItem::new(group, &bell);
        let zero = || AtomicU64::new(0);
        let state = |slot| if slot == 0 { SlotState::Fixed } else { SlotState::Empty };
        let segment = Arc::new(Self {
            functions: ArcSwap::from_pointee(Functions::of_host_bridge(HostBridge::new())),
            slots: std::array::from_fn(|slot| AtomicU32::new(state(slot).to_word())),
            windows,
            work: Arc::new(work),
            bell,
            stopping: AtomicBool::new(false),
            absent_reads: zero(),
            absent_writes: zero(),
            undefined: zero(),
            ejections_refused: zero(),
            bars_refused: zero(),
            doorbells_refused: zero(),
        });
        let attendant = PciAttendant::new(Arc::clone(&segment), attendant, world);
        (segment, attendant)
    }

    /// What functions ask for rounds with.
    pub fn work(&self) -> &Arc<WorkItem> {
        &self.work
    }

    /// Ends the attendant's loop; requests fail from then on.
    pub fn stop(&self) {
        // Release: pairs with the acquire in `is_stopping`.
        self.stopping.store(true, Ordering::Release);
        self.bell.advance();
    }

    /// The state of a slot.
    pub fn state(&self, slot: Slot) -> SlotState {
        // Acquire: pairs with the release in `step`.
        self.slots
            .get(slot.index())
            .map_or(SlotState::Fixed, |word| SlotState::of_word(word.load(Ordering::Acquire)))
    }

    /// Slot and name of every function that the guest sees.
    pub fn functions(&self) -> Vec<(Slot, String)> {
        let functions = self.functions.load();
        let visible = |slot| Some((slot, functions.visible(slot)?.name().to_owned()));
        Slot::all().filter_map(visible).collect()
    }

    pub(super) fn load(&self) -> Guard<Arc<Functions>> {
        self.functions.load()
    }

    pub(super) fn bell(&self) -> &FutexWord {
        &self.bell
    }

    pub(super) fn is_stopping(&self) -> bool {
        // Acquire: pairs with the release in `stop`.
        self.stopping.load(Ordering::Acquire)
    }
}

impl CounterSource for PciSegment {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: statistics.
        [
            ("absent_reads", &self.absent_reads),
            ("absent_writes", &self.absent_writes),
            ("undefined_accesses", &self.undefined),
            ("ejections_refused", &self.ejections_refused),
            ("bars_refused", &self.bars_refused),
            ("doorbells_refused", &self.doorbells_refused),
        ]
        .map(|(name, value)| (name, value.load(Ordering::Relaxed)))
        .into()
    }
}

pub(super) fn count(counter: &AtomicU64) {
    // Relaxed: a statistic.
    counter.fetch_add(1, Ordering::Relaxed);
}
