//! What a number in a table means.

use super::problem::{Flaw, Flawed};

/// Where an offset is in the entries of L1 and L2 tables.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bits of an L1 entry, and of an L2 entry that is not compressed, that mean nothing. Bit 0 of the latter is "reads as zeros", from
/// version 3 on.
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;
const ZERO: u64 = 1;
const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;
/// Bits of an entry of the refcount table that mean nothing.
const BLOCK_RESERVED: u64 = 0x1ff;
/// What compressed data is counted in.
const SECTOR: u64 = 512;

/// The clusters of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    bits: u32,
    len: u64,
}

/// What an L2 entry refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    At(Guest),
}

/// A guest's cluster in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guest {
    /// In one of its own.
    Standard(u64),
    /// In parts of these.
    Compressed { first: u64, last: u64 },
}

/// The numbers in a table.
pub(super) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number))
}

impl Layout {
    /// Clusters of `2^bits` bytes in a file of `len` bytes, of which the last may be short.
    pub const fn new(bits: u32, len: u64) -> Self {
        Self { bits, len }
    }

    /// Bytes.
    pub const fn cluster_size(self) -> u64 {
        1 << self.bits
    }

    /// How many there are.
    pub const fn clusters(self) -> u64 {
        self.len.div_ceil(self.cluster_size())
    }

    /// Room for one.
    pub fn buffer(self) -> Vec<u8> {
        vec![0; 1 << self.bits]
    }

    /// The cluster that holds this byte.
    pub const fn cluster_of(self, offset: u64) -> u64 {
        offset >> self.bits
    }

    /// Where it begins.
    pub const fn offset_of(self, cluster: u64) -> u64 {
        cluster << self.bits
    }

    /// The L2 table of an L1 entry.
    pub fn l2_table(self, entry: u64) -> Result<Option<u64>, Flawed> {
        self.table(entry, OFFSET, L1_RESERVED)
    }

    /// The block of an entry of the refcount table.
    pub fn block(self, entry: u64) -> Result<Option<u64>, Flawed> {
        self.table(entry, !BLOCK_RESERVED, BLOCK_RESERVED)
    }

    /// What an entry of an L2 table of an image of this version refers to.
    pub fn decode(self, entry: u64, version: u32) -> Result<Place, Flawed> {
        if entry & COMPRESSED != 0 {
            return self.compressed(entry);
        }
        let reserved = if version < 3 { L2_RESERVED | ZERO } else { L2_RESERVED };
        let offset = self.table(entry, OFFSET, reserved)?;
        Ok(offset.map_or(Place::Nowhere, |at| Place::At(Guest::Standard(self.cluster_of(at)))))
    }

    /// Offset and length share the low bits: the larger the clusters, the more sectors there can be.
    fn compressed(self, entry: u64) -> Result<Place, Flawed> {
        let offset_bits = 62 - (self.bits - 8);
        let descriptor = entry & !(COMPRESSED | COPIED);
        let offset = descriptor & ((1 << offset_bits) - 1);
        // From the beginning of its first sector.
        let sectors = (descriptor >> offset_bits) + 1;
        let last_byte = (offset & !(SECTOR - 1)).saturating_add(sectors * SECTOR - 1);
        let last = self.cluster_of(last_byte);
        let flawed = |flaw| Err(Flawed { target: offset, flaw });
        if entry & COPIED != 0 {
            return flawed(Flaw::Reserved);
        }
        if last >= self.clusters() {
            return flawed(Flaw::Outside);
        }
        Ok(Place::At(Guest::Compressed { first: self.cluster_of(offset), last }))
    }

    /// A whole cluster.
    fn table(self, entry: u64, mask: u64, reserved: u64) -> Result<Option<u64>, Flawed> {
        let target = entry & mask;
        let flaw = if entry & reserved != 0 {
            Flaw::Reserved
        } else if !target.is_multiple_of(self.cluster_size()) {
            Flaw::Unaligned
        } else if target >= self.len {
            Flaw::Outside
        } else {
            return Ok((target != 0).then_some(target));
        };
        Err(Flawed { target, flaw })
    }
}
