//! The CMOS memory as it is saved. The time is the host's, and goes on.

use serde::{Deserialize, Serialize};

use super::{INDEX_MASK, Rtc};
use crate::saved::Unfit;
use crate::sync::atomic::Ordering;

/// The index register, and what is in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRtc {
    /// The register that the data port stands for.
    pub index: u8,
    /// 128 bytes, those of the clock's registers without a meaning.
    pub memory: Vec<u8>,
}

// Relaxed throughout, as all of it.
impl Rtc {
    /// What it is, while no vCPU touches it.
    #[must_use]
    pub fn save(&self) -> SavedRtc {
        let memory = self.memory.iter().map(|cell| cell.load(Ordering::Relaxed));
        SavedRtc { index: self.index.load(Ordering::Relaxed), memory: memory.collect() }
    }

    /// Whether it could be this.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedRtc) -> Result<(), Unfit> {
        Unfit::unless_within("the clock's index register", saved.index, INDEX_MASK)?;
        Unfit::unless_same("the size of the CMOS memory", &saved.memory.len(), &self.memory.len())
    }

    /// Makes it this, while no vCPU touches it.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn restore(&self, saved: &SavedRtc) -> Result<(), Unfit> {
        self.check(saved)?;
        self.index.store(saved.index, Ordering::Relaxed);
        for (cell, saved) in self.memory.iter().zip(&saved.memory) {
            cell.store(*saved, Ordering::Relaxed);
        }
        Ok(())
    }
}
