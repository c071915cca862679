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
mod ecam;
mod error;
mod functions;
mod host_bridge;
mod ports;
mod slot;
#[cfg(test)]
mod tests;
mod windows;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use vcpu_state::sync::FutexWord;
use vcpu_state::{Group, WorkItem};

pub use ecam::Ecam;
pub use error::{InsertError, NotRemovable};
pub use ports::ConfigPorts;
pub use slot::{Slot, SlotState};
pub use windows::PciWindows;

pub(super) use functions::{Functions, Seat};

use super::attendant::{PciAttendant, PciWorld};
use super::config::{CONFIG_LEN, ConfigSpace};
use super::function::PciFunction;
use super::hotplug::EjectSink;
use crate::bus::Written;
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use host_bridge::HostBridge;
use slot::{SlotEvent, transition};
use windows::NoRoom;

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

    /// Puts a function into the lowest empty slot. Its BARs get addresses out of the windows; it answers
    /// there when the guest lets it. Called by the control plane, never by a vCPU.
    ///
    /// # Errors
    /// There is no slot or no room for its BARs.
    pub fn insert(&self, function: &Arc<dyn PciFunction>) -> Result<Slot, InsertError> {
        let free = Slot::all().find(|slot| self.step(*slot, SlotEvent::Reserve).is_ok());
        let slot = free.ok_or(InsertError::Full)?;
        self.publish(slot, function)?;
        Ok(slot)
    }

    /// Puts a function into this slot.
    ///
    /// # Errors
    /// The slot is not empty, or there is no room for its BARs.
    pub fn insert_at(
        &self,
        slot: Slot,
        function: &Arc<dyn PciFunction>,
    ) -> Result<(), InsertError> {
        self.step(slot, SlotEvent::Reserve).map_err(|state| InsertError::Taken { slot, state })?;
        self.publish(slot, function)
    }

    /// Notes that the guest is asked to give a function up; asking it is the hotplug registers' task.
    ///
    /// # Errors
    /// There is none that can be removed.
    pub fn ask_removal(&self, slot: Slot) -> Result<(), NotRemovable> {
        let asked = self.step(slot, SlotEvent::AskRemoval);
        asked.map_err(|state| NotRemovable { slot, state })
    }

    /// Takes a function away: the guest sees it no longer, and the attendant unmaps its BARs, removes its
    /// doorbells, frees the slot and tells [`PciObserver`](super::PciObserver). Never blocks. Accesses in
    /// flight may still reach it.
    ///
    /// # Errors
    /// There is none that can be removed.
    pub fn remove(&self, slot: Slot) -> Result<(), NotRemovable> {
        self.step(slot, SlotEvent::Eject).map_err(|state| NotRemovable { slot, state })?;
        self.change(|functions| match functions.seat(slot) {
            Seat::Present(function) => {
                Ok(functions.with(slot, Seat::Leaving(Arc::clone(function))))
            }
            Seat::Leaving(_) | Seat::Empty => Err(()),
        })
        // The step above was this thread's, and only one such step leads out of `Present`.
        .map_err(|()| NotRemovable { slot, state: self.state(slot) })?;
        drop(self.work.request());
        Ok(())
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

    /// A read in the configuration space of a function.
    pub(super) fn read_config(&self, address: ConfigAddress, data: &mut [u8]) {
        data.fill(0xFF);
        let functions = self.functions.load();
        let Some(function) = address.slot.and_then(|slot| functions.visible(slot)) else {
            count(&self.absent_reads);
            return;
        };
        if !is_defined(address.offset, data.len()) {
            count(&self.undefined);
        } else if !function.read_config_window(address.offset, data) {
            function.config().read(address.offset, data);
        }
    }

    /// A write in the configuration space of a function.
    pub(super) fn write_config(&self, address: ConfigAddress, data: &[u8]) -> Written {
        let functions = self.functions.load();
        let Some(function) = address.slot.and_then(|slot| functions.visible(slot)) else {
            count(&self.absent_writes);
            return Written::Done;
        };
        if !is_defined(address.offset, data.len()) {
            count(&self.undefined);
            return Written::Done;
        }
        if address.offset >= CONFIG_LEN {
            return Written::Done;
        }
        let (config, offset) = (function.config(), address.offset);
        config.write(offset, data);
        let own = function.config_written(offset, data);
        if ConfigSpace::decides_decoding(offset, data.len()) {
            return Written::Wait(self.work.request());
        }
        match (function.msix(), config.msix_control()) {
            (Some(msix), Some(control)) if config.decides_msix(offset, data.len()) => {
                msix.control_written(control)
            }
            _ => own,
        }
    }

    pub(super) fn load(&self) -> Guard<Arc<Functions>> {
        self.functions.load()
    }

    /// Frees a slot whose function answers nowhere any longer.
    pub(super) fn free(&self, slot: Slot) {
        // The table first: who reserves the slot finds it empty.
        let _ = self.change(|functions| Ok::<_, ()>(functions.with(slot, Seat::Empty)));
        let _ = self.step(slot, SlotEvent::Free);
    }

    pub(super) fn bell(&self) -> &FutexWord {
        &self.bell
    }

    pub(super) fn is_stopping(&self) -> bool {
        // Acquire: pairs with the release in `stop`.
        self.stopping.load(Ordering::Acquire)
    }

    fn publish(&self, slot: Slot, function: &Arc<dyn PciFunction>) -> Result<(), InsertError> {
        let placed = self.change(|functions| {
            // Again, if another function came meanwhile: the addresses may be its.
            windows::assign(&self.windows, functions.all(), &**function)?;
            Ok(functions.with(slot, Seat::Present(Arc::clone(function))))
        });
        if let Err(NoRoom { bar, len }) = placed {
            let _ = self.step(slot, SlotEvent::Free);
            let name = function.name().to_owned();
            return Err(InsertError::NoRoom { name, bar: bar.0, len });
        }
        let _ = self.step(slot, SlotEvent::Publish);
        drop(self.work.request());
        Ok(())
    }

    /// Takes a slot to its next state; the state it is in if that is not legal.
    fn step(&self, slot: Slot, event: SlotEvent) -> Result<(), SlotState> {
        let Some(word) = self.slots.get(slot.index()) else { return Err(SlotState::Fixed) };
        // Acquire and release pair with each other: a slot that was freed is seen with an empty seat.
        let mut now = word.load(Ordering::Acquire);
        loop {
            let state = SlotState::of_word(now);
            let next = transition(state, event).ok_or(state)?.to_word();
            match word.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(seen) => now = seen,
            }
        }
    }

    /// Replaces the table by what `edit` makes of it, and starts over when another thread was faster.
    fn change<E>(&self, edit: impl Fn(&Functions) -> Result<Functions, E>) -> Result<(), E> {
        let mut current = self.functions.load_full();
        loop {
            let next = Arc::new(edit(&current)?);
            let seen = self.functions.compare_and_swap(&current, next);
            if Arc::ptr_eq(&seen, &current) {
                return Ok(());
            }
            current = Guard::into_inner(seen);
        }
    }
}

impl EjectSink for PciSegment {
    fn eject(&self, slot: Slot) {
        if self.remove(slot).is_err() {
            count(&self.ejections_refused);
        }
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

/// A place in the configuration space of the segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigAddress {
    /// `None`: on another bus, or of a function other than 0.
    pub(super) slot: Option<Slot>,
    /// The first byte.
    pub(super) offset: u16,
}

/// Whether an access lies within one register, as it has to (PCI Express 3.0, 7.2.2).
fn is_defined(offset: u16, len: usize) -> bool {
    usize::from(offset % 4) + len <= 4
}

pub(super) fn count(counter: &AtomicU64) {
    // Relaxed: a statistic.
    counter.fetch_add(1, Ordering::Relaxed);
}
