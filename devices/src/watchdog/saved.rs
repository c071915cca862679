//! A watchdog as it is saved, and how the clock hands over what is left of its stage while it stands still.
//!
//! ```text
//!   clock: count ──stand still──▶ Left ──(a save reads it, a restore writes it)──▶ Left ──go on──▶ count
//! ```
//!
//! Invariant: while the clock's member is PAUSED, `Left` is the count's only state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Watchdog;
use super::word::{Stage, Word};
use crate::pci::{PciFunction, SavedConfig};
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Registers and count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWatchdog {
    /// Configuration space.
    pub config: SavedConfig,
    /// The registers' word, as `word.rs` lays it out: preload values in bits 0 to 39, then whether it is unlocked by half or wholly, has
    /// timed out, counts, is locked, runs free, is to begin anew, and from bit 47 on the configuration register.
    pub word: u64,
    /// How far it has counted; `None` if it does not, or is to begin anew.
    pub left: Option<SavedStage>,
}

/// What is left of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedStage {
    /// So many nanoseconds of the first.
    First(u64),
    /// So many nanoseconds of the second.
    Second(u64),
}

/// No stage is longer, in nanoseconds: 2³⁵ clocks are less.
const LONGEST: u64 = 1 << 41;
const SECOND: u64 = 1 << 62;
const COUNTS: u64 = 1 << 63;

/// What the count has left while the clock stands still.
#[derive(Default)]
pub(super) struct Left(AtomicU64);

impl Left {
    pub(super) fn get(&self) -> Option<(Stage, Duration)> {
        // Acquire: pairs with the release in `set`.
        let bits = self.0.load(Ordering::Acquire);
        let stage = if bits & SECOND == 0 { Stage::First } else { Stage::Second };
        (bits & COUNTS != 0).then(|| (stage, Duration::from_nanos(bits & !(SECOND | COUNTS))))
    }

    pub(super) fn set(&self, left: Option<(Stage, Duration)>) {
        let bits = left.map_or(0, |(stage, left)| {
            // A stage that is too long for it cannot be.
            let nanos = u64::try_from(left.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
            COUNTS | nanos | if stage == Stage::Second { SECOND } else { 0 }
        });
        // Release: pairs with the acquire in `get`.
        self.0.store(bits, Ordering::Release);
    }
}

impl Watchdog {
    /// What it is, while vCPUs and its clock stand still.
    #[must_use]
    pub fn save(&self) -> SavedWatchdog {
        let left = self.shared.left.get().map(|(stage, left)| {
            // At most what `set` takes.
            let nanos = u64::try_from(left.as_nanos()).unwrap_or(LONGEST);
            match stage {
                Stage::First => SavedStage::First(nanos),
                Stage::Second => SavedStage::Second(nanos),
            }
        });
        SavedWatchdog { config: self.config().save(), word: self.word().0, left }
    }

    /// Whether it could be this.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedWatchdog) -> Result<(), Unfit> {
        self.config().check(&saved.config)?;
        if !Word(saved.word).is_coherent() {
            return Err(Unfit::impossible("the watchdog's registers", saved.word));
        }
        match saved.left {
            Some(SavedStage::First(nanos) | SavedStage::Second(nanos)) if nanos > LONGEST => {
                Err(Unfit::impossible("the time left to the watchdog, in nanoseconds,", nanos))
            }
            _ => Ok(()),
        }
    }

    /// Makes it this, while vCPUs and its clock stand still. The PCI attendant has to be asked for a round afterwards.
    ///
    /// # Errors
    /// What does not fit; nothing has changed then.
    pub fn restore(&self, saved: &SavedWatchdog) -> Result<(), Unfit> {
        self.check(saved)?;
        self.config().restore(&saved.config);
        self.shared.registers.restore(Word(saved.word));
        self.shared.left.set(saved.left.map(|left| match left {
            SavedStage::First(nanos) => (Stage::First, Duration::from_nanos(nanos)),
            SavedStage::Second(nanos) => (Stage::Second, Duration::from_nanos(nanos)),
        }));
        Ok(())
    }
}
