//! The registers by which ACPI methods of the guest learn of vCPUs that come and go: 16 bytes of memory.
//!
//! | offset | width | name | read | write |
//! |---|---|---|---|---|
//! | 0x0 | 32 bits | SELECT | the selected vCPU; all ones: none | selects one |
//! | 0x4 | 32 bits | STATUS | bit 0 ENABLED, bit 1 INSERTING, bit 2 REMOVING | a one in bit 1 or 2 acknowledges it; in bit 3 ejects the vCPU |
//! | 0x8 | 32 bits | COMMAND | 0 | 0: selects the next vCPU with INSERTING or REMOVING, from the selected one on and once around; none without one |
//! | 0xC | 32 bits | reserved | 0 | ignored |
//!
//! A number that no vCPU can have selects none; the status of none is 0 and writes of it are ignored. Only 32-bit accesses at those offsets are
//! defined (in AML: `DWordAcc`, `NoLock`, `WriteAsZeros`); others read as zeros and are ignored. The AML serialises its uses of SELECT
//! with a mutex of its own. A guest that does not confuses only itself.
//!
//! The host inserts a vCPU, or asks for it, then raises the event of the GED ([`crate::ged::Ged`]). An AML method gives command 0 over and over,
//! notifies the processor of what its status says (1: device check, 3: eject request) and acknowledges that, until none is selected. `_STA` is ENABLED;
//! `_EJ0` writes EJECT.
//!
//! An eject is a request and never a wait, whoever makes it and of whichever vCPU, its own included: the write takes the vCPU from
//! the guest's sight and returns. Another thread then ends the vCPU's thread and frees the slot. The vCPU that the guest was booted on
//! cannot be ejected.

mod saved;
mod slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::bus::{BusDevice, Written};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
pub use saved::SavedCpuHotplug;
pub use slot::Presence;
use slot::{Ejectable, Slot, Step};

const SELECT: u64 = 0x0;
const STATUS: u64 = 0x4;
const COMMAND: u64 = 0x8;

/// What is selected while no vCPU is.
const NONE: u32 = u32::MAX;
/// The command that looks for news.
const NEXT_WITH_NEWS: u32 = 0;

/// Who hears that a vCPU was ejected.
pub trait EjectedSink: Send + Sync {
    /// There is something for [`CpuHotplugController::take_ejected`]. Called by vCPUs: never blocks.
    fn ejected(&self);
}

/// The step is none that the slot can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vCPU {vcpu} is {presence:?}")]
pub struct WrongPresence {
    /// The vCPU.
    pub vcpu: u32,
    /// What its slot holds.
    pub presence: Presence,
}

/// Whether the guest had heard that a vCPU was to go when that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It had not, and never will.
    No,
    /// It had, and may eject the vCPU yet.
    Yes,
}

/// The registers.
pub struct CpuHotplugController {
    slots: Box<[AtomicU32]>,
    selected: AtomicU32,
    /// A slot may be Ejected.
    look: AtomicBool,
    sink: Arc<dyn EjectedSink>,
    inserted: AtomicU64,
    removals_asked: AtomicU64,
    ejections: AtomicU64,
}

impl CpuHotplugController {
    /// Bytes of the block.
    pub const LEN: u64 = 16;

    /// Registers of `possible` vCPUs, of which the first `present` are there.
    pub fn new(present: u32, possible: u32, sink: Arc<dyn EjectedSink>) -> Self {
        let slot = |vcpu| if vcpu < present { Slot::PRESENT } else { Slot::ABSENT };
        Self {
            slots: (0..possible).map(|vcpu| AtomicU32::new(slot(vcpu).0)).collect(),
            selected: AtomicU32::new(0),
            look: AtomicBool::new(false),
            sink,
            inserted: AtomicU64::new(0),
            removals_asked: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
        }
    }

    /// What a slot holds; one that does not exist holds nothing.
    pub fn presence(&self, vcpu: u32) -> Presence {
        self.load(vcpu).presence()
    }

    /// Makes a vCPU visible whose thread is there.
    ///
    /// # Errors
    /// The slot is not free.
    pub fn insert(&self, vcpu: u32) -> Result<(), WrongPresence> {
        self.step(vcpu, Step::Insert)?;
        // Relaxed: a statistic, here and below.
        self.inserted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Asks the guest to let go of a vCPU.
    ///
    /// # Errors
    /// It has no such vCPU, or has been asked already.
    pub fn ask_removal(&self, vcpu: u32) -> Result<(), WrongPresence> {
        self.step(vcpu, Step::AskRemoval)?;
        self.removals_asked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes that back.
    ///
    /// # Errors
    /// The guest was not asked for this vCPU, or has ejected it.
    pub fn cancel_removal(&self, vcpu: u32) -> Result<Heard, WrongPresence> {
        let before = self.step(vcpu, Step::Cancel)?;
        Ok(if before.status() & slot::REMOVING == 0 { Heard::Yes } else { Heard::No })
    }

    /// The vCPUs that the guest has ejected and that have not been vacated; costs one load when none was since the last call.
    pub fn take_ejected(&self) -> Vec<u32> {
        // Relaxed: whoever sets it wakes the caller afterwards, and that orders it.
        if !self.look.load(Ordering::Relaxed) {
            return Vec::new();
        }
        // Before the slots are looked at. Acquire: pairs with the release of the eject, whose slot is seen as Ejected.
        self.look.swap(false, Ordering::AcqRel);
        let ejected = |vcpu: &u32| self.presence(*vcpu) == Presence::Ejected;
        (0..self.possible()).filter(ejected).collect()
    }

    /// Frees the slot of a vCPU that was ejected and whose thread has been joined.
    ///
    /// # Errors
    /// It was not ejected.
    pub fn vacate(&self, vcpu: u32) -> Result<(), WrongPresence> {
        self.step(vcpu, Step::Vacate).map(drop)
    }

    fn possible(&self) -> u32 {
        // It was made from such a number.
        u32::try_from(self.slots.len()).unwrap_or(NONE)
    }

    fn slot(&self, vcpu: u32) -> Option<&AtomicU32> {
        self.slots.get(vcpu as usize)
    }

    fn load(&self, vcpu: u32) -> Slot {
        // Acquire: pairs with the release in `step`; who sees a vCPU as present finds its thread.
        self.slot(vcpu).map_or(Slot::ABSENT, |slot| Slot(slot.load(Ordering::Acquire)))
    }

    /// One step, by compare-and-swap; gives the slot as it was. Lock-free: a failed swap means that another one succeeded.
    fn step(&self, vcpu: u32, step: Step) -> Result<Slot, WrongPresence> {
        let mut old = self.load(vcpu);
        loop {
            let refused = WrongPresence { vcpu, presence: old.presence() };
            let slot = self.slot(vcpu).ok_or(refused)?;
            let new = old.next(step).ok_or(refused)?;
            // AcqRel: what led to the new state is seen by whoever reads it, and what led to the old one was seen here.
            match slot.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(old),
                Err(now) => old = Slot(now),
            }
        }
    }

    fn write_status(&self, value: u32) {
        // Relaxed: the guest orders its own accesses.
        let vcpu = self.selected.load(Ordering::Relaxed);
        let ejectable = if vcpu == 0 { Ejectable::No } else { Ejectable::Yes };
        if self.step(vcpu, Step::Write { value, ejectable }).is_err() {
            return;
        }
        if value & slot::EJECT != 0 && ejectable == Ejectable::Yes {
            self.ejections.fetch_add(1, Ordering::Relaxed);
            // Release: pairs with the acquire in `take_ejected`.
            self.look.store(true, Ordering::Release);
            self.sink.ejected();
        }
    }

    /// A look at every slot at most: there are as many as the VM can have vCPUs.
    fn select_next_with_news(&self) {
        let selected = self.selected.load(Ordering::Relaxed);
        let first = if selected < self.possible() { selected } else { 0 };
        let mut around = (first..self.possible()).chain(0..first);
        let next = around.find(|vcpu| self.load(*vcpu).has_news()).unwrap_or(NONE);
        self.selected.store(next, Ordering::Relaxed);
    }
}

impl BusDevice for CpuHotplugController {
    fn name(&self) -> &'static str {
        "cpu-hotplug"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let Ok(data) = <&mut [u8; 4]>::try_from(data) else { return };
        let selected = self.selected.load(Ordering::Relaxed);
        let value = match offset {
            SELECT => selected,
            STATUS => self.load(selected).status(),
            _ => 0,
        };
        *data = value.to_le_bytes();
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        let Ok(data) = <[u8; 4]>::try_from(data) else { return Written::Done };
        match (offset, u32::from_le_bytes(data)) {
            (SELECT, vcpu) => {
                let selected = if vcpu < self.possible() { vcpu } else { NONE };
                self.selected.store(selected, Ordering::Relaxed);
            }
            (STATUS, value) => self.write_status(value),
            (COMMAND, NEXT_WITH_NEWS) => self.select_next_with_news(),
            _ => {}
        }
        Written::Done
    }
}

impl CounterSource for CpuHotplugController {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("inserted", self.inserted.load(Ordering::Relaxed)),
            ("removals_asked", self.removals_asked.load(Ordering::Relaxed)),
            ("ejections", self.ejections.load(Ordering::Relaxed)),
        ]
    }
}
