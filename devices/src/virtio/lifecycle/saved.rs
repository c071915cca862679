//! The word as it is saved: its fields, without the end of a device, which is not saved.

use serde::{Deserialize, Serialize};

use super::word::{Cause, State, Word};

/// A device's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWord {
    /// What the status register reads.
    pub status: u8,
    /// Where the device is.
    pub state: State,
    /// Why it needs a reset, if it does.
    pub cause: Option<Cause>,
    /// Activations that have been asked for.
    pub generation: u32,
}

impl From<Word> for SavedWord {
    fn from(word: Word) -> Self {
        Self {
            status: word.status(),
            state: word.state(),
            cause: word.cause(),
            generation: word.generation(),
        }
    }
}

impl SavedWord {
    /// The word, if the protocol can reach it.
    pub(in crate::virtio) fn word(self) -> Option<Word> {
        let word = Word::of_fields(self.status, self.state, self.cause, self.generation);
        word.is_coherent().then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_word_that_the_protocol_reaches_comes_back(
            (status, state, cause, generation) in (any::<u8>(), 0..5_u64, 0..7_u64, any::<u32>()),
        ) {
            let bits = u64::from(status) | state << 8 | cause << 16 | u64::from(generation) << 32;
            let word = Word::from_bits(bits);
            let back = SavedWord::from(word).word();
            prop_assert_eq!(back, word.is_coherent().then_some(word));
        }
    }
}
