//! A configuration space as it is saved: all of its registers, of which a restore takes what a guest can write.

use serde::{Deserialize, Serialize};

use super::{BARS, BarState, ConfigSpace, WORDS, load, merge};
use crate::pci::function::BarIndex;
use crate::saved::Unfit;

/// The registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedConfig {
    /// By ascending offset, 32 bits each.
    pub words: Vec<u32>,
}

impl ConfigSpace {
    /// What they are.
    #[must_use]
    pub fn save(&self) -> SavedConfig {
        SavedConfig { words: self.words.iter().map(load).collect() }
    }

    /// Whether they could be these: what no guest can write is the same.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, saved: &SavedConfig) -> Result<(), Unfit> {
        Unfit::unless_same("the number of registers", &saved.words.len(), &WORDS)?;
        let all = self.words.iter().zip(&self.writable).zip(&saved.words);
        for (place, ((word, writable), saved)) in all.enumerate() {
            let here = load(word);
            if (here ^ saved) & !writable != 0 {
                return Err(Unfit::Config { offset: 4 * place, saved: *saved, here });
            }
        }
        Ok(())
    }

    /// The BARs that it would have with these registers.
    pub(in crate::pci) fn bars_of<'c>(
        &'c self,
        saved: &'c SavedConfig,
    ) -> impl Iterator<Item = (BarIndex, BarState)> + 'c {
        let word = |place: usize| saved.words.get(place).copied().unwrap_or(0);
        (0..BARS).map(BarIndex).filter_map(move |index| Some((index, self.bar_in(index, word)?)))
    }

    /// Makes them these, which were checked. The attendant has to be asked for a round afterwards.
    pub fn restore(&self, saved: &SavedConfig) {
        for ((word, writable), saved) in self.words.iter().zip(&self.writable).zip(&saved.words) {
            merge(word, *saved, *writable);
        }
    }
}
