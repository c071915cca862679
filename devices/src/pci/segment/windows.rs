//! Where BARs go that nobody has placed yet.

use crate::bus::{AddressRange, AddressSpace, Mmio, Pio};
use crate::pci::config::{BarSpace, BarState};
use crate::pci::function::{BarIndex, PciFunction};

/// The address ranges that the host bridge passes on, as its resources (`_CRS`) tell the guest. Initial
/// addresses come out of them; the guest may move BARs anywhere.
#[derive(Clone, Copy, Debug)]
pub struct PciWindows {
    /// For memory below 4 GiB.
    pub memory32: AddressRange<Mmio>,
    /// For 64-bit BARs, which go below 4 GiB when it is full.
    pub memory64: AddressRange<Mmio>,
    /// For I/O ports.
    pub io: AddressRange<Pio>,
}

impl PciWindows {
    /// 0xC000_0000 to 0xEFFF_FFFF.
    pub const MEMORY32: AddressRange<Mmio> = AddressRange::constant(0xC000_0000, 0x3000_0000);
    /// Ports 0xC000 to 0xFFFF.
    pub const IO: AddressRange<Pio> = AddressRange::constant(0xC000, 0x4000);

    /// The usual windows, and this one for 64-bit BARs.
    pub const fn with_memory64(memory64: AddressRange<Mmio>) -> Self {
        Self { memory32: Self::MEMORY32, memory64, io: Self::IO }
    }
}

/// A BAR for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom {
    pub(super) bar: BarIndex,
    pub(super) len: u64,
}

/// First and last address of something that is taken.
type Taken = (u64, u64);

/// Gives every BAR of `function` an address that none of `others` has in a register, decoded or not.
pub(super) fn assign<'f>(
    windows: &PciWindows,
    others: impl Iterator<Item = &'f dyn PciFunction>,
    function: &dyn PciFunction,
) -> Result<(), NoRoom> {
    let (mut memory, mut ports) = (Vec::new(), Vec::new());
    for (_, bar) in others.flat_map(|other| other.config().bars()) {
        if bar.gpa != 0 {
            list(bar, &mut memory, &mut ports).push(range(bar.gpa, bar.len));
        }
    }
    for (index, bar) in function.config().bars() {
        let taken = list(bar, &mut memory, &mut ports);
        let found = match bar.space {
            BarSpace::Memory32 => first_fit(windows.memory32, bar.len, taken),
            BarSpace::Memory64 => first_fit(windows.memory64, bar.len, taken)
                .or_else(|| first_fit(windows.memory32, bar.len, taken)),
            BarSpace::Io => first_fit(windows.io, bar.len, taken),
        };
        let gpa = found.ok_or(NoRoom { bar: index, len: bar.len })?;
        taken.push(range(gpa, bar.len));
        function.config().set_bar(index, gpa);
    }
    Ok(())
}

fn list<'l>(
    bar: BarState,
    memory: &'l mut Vec<Taken>,
    ports: &'l mut Vec<Taken>,
) -> &'l mut Vec<Taken> {
    if bar.space == BarSpace::Io { ports } else { memory }
}

fn range(first: u64, len: u64) -> Taken {
    (first, first.saturating_add(len - 1))
}

/// The lowest address in the window, at a multiple of `len`, where `len` addresses are free. `len` is a power of two.
fn first_fit<S: AddressSpace>(window: AddressRange<S>, len: u64, taken: &[Taken]) -> Option<u64> {
    let mut at = window.first().checked_next_multiple_of(len)?;
    loop {
        let last = at.checked_add(len - 1).filter(|last| *last <= window.last())?;
        // Each turn leaves what was in the way behind.
        match taken.iter().find(|(first, end)| *first <= last && at <= *end) {
            Some((_, end)) => at = end.checked_add(1)?.checked_next_multiple_of(len)?,
            None => return Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: AddressRange<Mmio> = AddressRange::constant(0x1100, 0x2F00);

    #[test]
    fn the_lowest_aligned_address_that_is_free() {
        assert_eq!(first_fit(WINDOW, 0x100, &[]), Some(0x1100));
        assert_eq!(first_fit(WINDOW, 0x1000, &[]), Some(0x2000));
        assert_eq!(first_fit(WINDOW, 0x1000, &[(0x2800, 0x28FF)]), Some(0x3000));
        assert_eq!(first_fit(WINDOW, 0x100, &[(0x1200, 0x12FF), (0x1100, 0x11FF)]), Some(0x1300));
    }

    #[test]
    fn a_full_window_has_no_room() {
        assert_eq!(first_fit(WINDOW, 0x4000, &[]), None);
        assert_eq!(first_fit(WINDOW, 0x1000, &[(0x2FFF, 0x3000)]), None);
        assert_eq!(first_fit(WINDOW, 0x100, &[(0, u64::MAX)]), None);
    }
}
