//! The device-specific configuration and feature bits of a block device (virtio 1.2, 5.2.3 and 5.2.4).

use super::request::{Fate, SECTOR};

/// Feature bits (virtio 1.2, 5.2.3).
pub(super) mod feature {
    /// `seg_max` is valid.
    pub const SEG_MAX: u64 = 1 << 2;
    /// The device cannot be written.
    pub const RO: u64 = 1 << 5;
    /// `blk_size` is valid.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// Flushes are understood.
    pub const FLUSH: u64 = 1 << 9;
    /// `topology` is valid.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// There are several queues.
    pub const MQ: u64 = 1 << 12;
    /// Discards are understood.
    pub const DISCARD: u64 = 1 << 13;
    /// Write-zeroes are understood.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// What a request of ranges may ask for. One request is carried out as a whole, also while a pause waits for it,
/// so it must not take for ever.
pub(super) struct RangeLimits {
    /// Ranges in a request.
    pub ranges: u32,
    /// Sectors in a range.
    pub sectors: u32,
    /// What becomes of a range without flags.
    pub plain_fate: Fate,
}

/// Discards: 16 ranges of 2 GiB, which a file system does by its tables alone.
pub(super) const DISCARD: RangeLimits =
    RangeLimits { ranges: 16, sectors: 1 << 22, plain_fate: Fate::Discarded };
/// Write-zeroes: 128 MiB, since zeros have to be written where the file system knows no better way.
pub(super) const WRITE_ZEROES: RangeLimits =
    RangeLimits { ranges: 1, sectors: 1 << 18, plain_fate: Fate::Zeroed };

/// Bytes of the configuration.
pub(super) const LEN: usize = 60;

/// What the configuration tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Descriptors of a queue.
    pub queue_size: u16,
    /// Queues.
    pub num_queues: u16,
    /// Bytes of the blocks that the host reads and writes well.
    pub block_size: u32,
}

impl Layout {
    /// The configuration (`struct virtio_blk_config`) of a disk of so many sectors.
    pub fn bytes(self, capacity: u64) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        // Of a request's descriptors one is the header and one the status.
        let seg_max = u32::from(self.queue_size).saturating_sub(2);
        put(0, &capacity.to_le_bytes());
        put(12, &seg_max.to_le_bytes());
        put(20, &self.block_size.to_le_bytes());
        // Topology: physical_block_exp, alignment_offset, min_io_size, opt_io_size, in blocks. The host's pages
        // are the physical blocks.
        let exponent = (PHYSICAL_BLOCK / self.block_size).max(1).ilog2();
        put(24, &[u8::try_from(exponent).unwrap_or(0), 0]);
        put(26, &(1_u16 << exponent).to_le_bytes());
        put(28, &0_u32.to_le_bytes());
        // Write-back: what was written is safe after a flush.
        put(32, &[1]);
        put(34, &self.num_queues.to_le_bytes());
        // Discard and write-zeroes: greatest sectors, greatest ranges, alignment.
        put(36, &DISCARD.sectors.to_le_bytes());
        put(40, &DISCARD.ranges.to_le_bytes());
        put(44, &(PHYSICAL_BLOCK / SECTOR).to_le_bytes());
        put(48, &WRITE_ZEROES.sectors.to_le_bytes());
        put(52, &WRITE_ZEROES.ranges.to_le_bytes());
        put(56, &[1]);
        bytes
    }
}

/// Bytes of a page of the host's cache, and of most file systems' blocks.
const PHYSICAL_BLOCK: u32 = 4096;

/// Copies the part of `bytes` from `offset` on into `data`; the rest becomes zeros.
pub(super) fn read(bytes: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
    let rest = rest.unwrap_or_default();
    let len = rest.len().min(data.len());
    data[..len].copy_from_slice(&rest[..len]);
    data[len..].fill(0);
}
