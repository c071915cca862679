//! The registers as they are saved. Which vCPUs have threads is not theirs to say: whoever restores them has made those.

use serde::{Deserialize, Serialize};

use super::slot::Slot;
use super::{CpuHotplugController, NONE, Presence};
use crate::saved::Unfit;
use crate::sync::atomic::Ordering;

/// The selected vCPU, and the words of all slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCpuHotplug {
    /// All ones: none.
    pub selected: u32,
    /// What the guest reads in bits 0 to 2, and in bits 8 and 9 what the host has asked and the guest has ejected.
    pub slots: Vec<u32>,
}

impl SavedCpuHotplug {
    /// What a slot held; one that does not exist held nothing.
    #[must_use]
    pub fn presence(&self, vcpu: u32) -> Presence {
        self.slots.get(vcpu as usize).map_or(Slot::ABSENT, |word| Slot(*word)).presence()
    }
}

impl CpuHotplugController {
    /// What they are, while no vCPU touches them.
    #[must_use]
    pub fn save(&self) -> SavedCpuHotplug {
        SavedCpuHotplug {
            selected: self.selected.load(Ordering::Relaxed),
            slots: (0..self.possible()).map(|vcpu| self.load(vcpu).0).collect(),
        }
    }

    /// Whether they could be these.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedCpuHotplug) -> Result<(), Unfit> {
        Unfit::unless_same("the number of vCPUs", &saved.slots.len(), &self.slots.len())?;
        if saved.selected >= self.possible() && saved.selected != NONE {
            return Err(Unfit::impossible("the selected vCPU", saved.selected));
        }
        for (vcpu, word) in (0..).zip(&saved.slots) {
            let slot = Slot(*word);
            let is_first_there =
                vcpu != 0 || !matches!(slot.presence(), Presence::Absent | Presence::Ejected);
            if !slot.is_coherent() || !is_first_there {
                return Err(Unfit::impossible("the word of a vCPU's slot", (vcpu, word)));
            }
        }
        Ok(())
    }

    /// Makes them these, while no vCPU touches them.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn restore(&self, saved: &SavedCpuHotplug) -> Result<(), Unfit> {
        self.check(saved)?;
        self.selected.store(saved.selected, Ordering::Relaxed);
        for (slot, word) in self.slots.iter().zip(&saved.slots) {
            // Release: pairs with the acquire in `load`.
            slot.store(*word, Ordering::Release);
        }
        // One that was ejected, and not yet taken notice of.
        let ejected = |word: &u32| Slot(*word).presence() == Presence::Ejected;
        if saved.slots.iter().any(ejected) {
            // Release: pairs with the acquire in `take_ejected`.
            self.look.store(true, Ordering::Release);
            self.sink.ejected();
        }
        Ok(())
    }
}
