//! Where what is in BAR 0.

use crate::pci::BarIndex;

/// The one BAR.
pub(super) const BAR: BarIndex = BarIndex(0);
/// Its size.
pub(super) const BAR_LEN: u32 = 0x8000;

pub(super) const COMMON: u32 = 0x0000;
pub(super) const ISR: u32 = 0x1000;
pub(super) const DEVICE: u32 = 0x2000;
pub(super) const NOTIFY: u32 = 0x3000;
pub(super) const MSIX_TABLE: u32 = 0x4000;
pub(super) const MSIX_PENDING: u32 = 0x6000;

/// Bytes between the notification registers of two queues.
pub(super) const NOTIFY_MULTIPLIER: u32 = 4;
/// Vectors that there is room for between table and pending bits, of 16 bytes each.
pub(super) const MAX_VECTORS: u16 = 0x2000 / 16;

/// What an address in the BAR belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    Common,
    Isr,
    Device,
    Notify,
    MsixTable,
    MsixPending,
}

const REGIONS: [(Region, u32, u32); 6] = [
    (Region::Common, COMMON, ISR),
    (Region::Isr, ISR, DEVICE),
    (Region::Device, DEVICE, NOTIFY),
    (Region::Notify, NOTIFY, MSIX_TABLE),
    (Region::MsixTable, MSIX_TABLE, MSIX_PENDING),
    (Region::MsixPending, MSIX_PENDING, BAR_LEN),
];

impl Region {
    /// The region that holds all of an access, and where in it. One that reaches over a border belongs to none.
    pub(super) fn of(offset: u64, len: usize) -> Option<(Self, u64)> {
        let end = offset.checked_add(len as u64)?;
        let mut regions = REGIONS.into_iter();
        let (region, first, _) = regions
            .find(|(_, first, after)| offset >= u64::from(*first) && end <= u64::from(*after))?;
        Some((region, offset - u64::from(first)))
    }
}
