//! How functions come and go.

use std::sync::Arc;

use super::error::{InsertError, NotRemovable};
use super::functions::{Functions, Seat};
use super::slot::{Slot, SlotEvent, SlotState, transition};
use super::windows::{NoRoom, assign};
use super::{PciSegment, count};
use crate::pci::function::PciFunction;
use crate::pci::hotplug::EjectSink;
use crate::sync::Guard;
use crate::sync::atomic::Ordering;

impl PciSegment {
    /// Puts a function into the lowest empty slot. Its BARs get addresses out of the windows; it answers
    /// there when the guest lets it. Called by the control plane, never by a vCPU.
    ///
    /// # Errors
    /// There is no slot or no room for its BARs.
    pub fn insert(&self, function: &Arc<dyn PciFunction>) -> Result<Slot, InsertError> {
        let free = Slot::all().find(|slot| self.step(*slot, SlotEvent::Reserve).is_ok());
        let slot = free.ok_or(InsertError::Full)?;
        self.publish(slot, function, SlotEvent::Publish)?;
        Ok(slot)
    }

    /// Puts a function into the lowest empty slot, from which nobody can remove it.
    ///
    /// # Errors
    /// There is no slot or no room for its BARs.
    pub fn insert_fixed(&self, function: &Arc<dyn PciFunction>) -> Result<Slot, InsertError> {
        let free = Slot::all().find(|slot| self.step(*slot, SlotEvent::Reserve).is_ok());
        let slot = free.ok_or(InsertError::Full)?;
        self.publish(slot, function, SlotEvent::Fix)?;
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
        self.publish(slot, function, SlotEvent::Publish)
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
    /// doorbells, frees the slot and tells [`PciObserver`](crate::pci::PciObserver). Never blocks. Accesses in
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

    /// Frees a slot whose function answers nowhere any longer.
    pub(in crate::pci) fn free(&self, slot: Slot) {
        // The table first: who reserves the slot finds it empty.
        let _ = self.change(|functions| Ok::<_, ()>(functions.with(slot, Seat::Empty)));
        let _ = self.step(slot, SlotEvent::Free);
    }

    fn publish(
        &self,
        slot: Slot,
        function: &Arc<dyn PciFunction>,
        end: SlotEvent,
    ) -> Result<(), InsertError> {
        let placed = self.change(|functions| {
            // Again, if another function came meanwhile: the addresses may be its.
            assign(&self.windows, functions.all(), &**function)?;
            Ok(functions.with(slot, Seat::Present(Arc::clone(function))))
        });
        if let Err(NoRoom { bar, len }) = placed {
            let _ = self.step(slot, SlotEvent::Free);
            let name = function.name().to_owned();
            return Err(InsertError::NoRoom { name, bar: bar.0, len });
        }
        let _ = self.step(slot, end);
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
    pub(super) fn change<E>(
        &self,
        edit: impl Fn(&Functions) -> Result<Functions, E>,
    ) -> Result<(), E> {
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
