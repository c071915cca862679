//! The PCI_CFG window: BAR accesses through the configuration space (virtio 1.2, 4.1.4.9).
//!
//! The driver writes BAR, offset and length into the capability; a read or write of `pci_cfg_data` is then an
//! access of that length there. One that the BAR could not see (a length that is not 1, 2 or 4, an offset that is not
//! a multiple of it) is none: it reads zeros, and a write goes nowhere.

use crate::bus::Written;
use crate::pci::{BarIndex, ConfigSpace};

/// Bytes from the beginning of the capability.
const CAP_BAR: u16 = 4;
const CAP_OFFSET: u16 = 8;
const CAP_LENGTH: u16 = 12;
const CAP_DATA: u16 = 16;
/// Bytes of `pci_cfg_data`.
const DATA_LEN: usize = 4;

/// Where the window is in the configuration space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window(u16);

/// The access that it stands for now.
struct Access {
    bar: BarIndex,
    offset: u64,
    len: usize,
}

impl Window {
    /// The window of the capability at this offset.
    pub(super) fn at(capability: u8) -> Self {
        Self(capability.into())
    }

    /// A read of the configuration space: if it covers the window's data, all of it is read, with what the BAR says in
    /// that place, and the answer is true.
    pub(super) fn read(
        self,
        config: &ConfigSpace,
        offset: u16,
        data: &mut [u8],
        read_bar: impl FnOnce(BarIndex, u64, &mut [u8]),
    ) -> bool {
        if !self.is_covered(offset, data.len()) {
            return false;
        }
        let mut seen = [0; DATA_LEN];
        if let Some(access) = self.access(config) {
            read_bar(access.bar, access.offset, &mut seen[..access.len]);
        }
        config.read(offset, data);
        let (start, first) = (usize::from(offset), usize::from(self.0 + CAP_DATA));
        for (place, byte) in (start..).zip(data) {
            if let Some(seen) = place.checked_sub(first).and_then(|place| seen.get(place)) {
                *byte = *seen;
            }
        }
        true
    }

    /// A write of the configuration space has been taken: if it covered the window's data, the BAR is written.
    pub(super) fn written(
        self,
        config: &ConfigSpace,
        offset: u16,
        len: usize,
        write_bar: impl FnOnce(BarIndex, u64, &[u8]) -> Written,
    ) -> Written {
        let access = self.access(config).filter(|_| self.is_covered(offset, len));
        let Some(access) = access else { return Written::Done };
        let mut data = [0; DATA_LEN];
        config.read(self.0 + CAP_DATA, &mut data);
        write_bar(access.bar, access.offset, &data[..access.len])
    }

    fn is_covered(self, offset: u16, len: usize) -> bool {
        let (offset, first) = (usize::from(offset), usize::from(self.0 + CAP_DATA));
        offset < first + DATA_LEN && first < offset.saturating_add(len)
    }

    fn access(self, config: &ConfigSpace) -> Option<Access> {
        let mut bar = [0];
        config.read(self.0 + CAP_BAR, &mut bar);
        let word = |at| {
            let mut word = [0; 4];
            config.read(self.0 + at, &mut word);
            u32::from_le_bytes(word)
        };
        let (offset, len) = (word(CAP_OFFSET), word(CAP_LENGTH));
        let fits = matches!(len, 1 | 2 | 4) && offset.is_multiple_of(len);
        fits.then_some(Access { bar: BarIndex(bar[0]), offset: offset.into(), len: len as usize })
    }
}
