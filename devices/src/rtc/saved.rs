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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::ByteRegisters;
    use crate::rtc::MemorySizes;

    #[test]
    fn what_was_written_is_there_and_the_index_register_stands_where_it_stood() {
        let first = Rtc::new(MemorySizes { below_4g: 1 << 30, above_4g: 0 });
        for (index, value) in [(0x0B, 0x06), (0x40, 7), (0x7F, 9)] {
            first.write_register(0, index);
            first.write_register(1, value);
        }
        let second = Rtc::new(MemorySizes::default());
        second.restore(&first.save()).unwrap();
        assert_eq!(second.save(), first.save());
        assert_eq!(second.read_register(1), 9);
        for (index, value) in [(0x0B, 0x06), (0x40, 7), (0x35, 0x3F)] {
            second.write_register(0, index);
            assert_eq!(second.read_register(1), value);
        }
    }

    #[test]
    fn other_memory_is_refused() {
        let clock = Rtc::new(MemorySizes::default());
        let short = SavedRtc { index: 0, memory: vec![0; 127] };
        let error = clock.restore(&short).unwrap_err().to_string();
        assert_eq!(
            error,
            "the size of the CMOS memory is 128 here, and was 127 when the state was saved"
        );
        let high = SavedRtc { index: 0x80, ..clock.save() };
        let error = clock.restore(&high).unwrap_err().to_string();
        assert_eq!(error, "the clock's index register cannot be 0x80");
    }
}
