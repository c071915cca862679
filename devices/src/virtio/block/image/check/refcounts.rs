//! Refcounts, and whether they cover what was claimed.

use super::Walk;
use super::claims::Claims;
use super::problem::Problem;
use super::tables::read_padded;

/// Compares the refcounts of a window's clusters with the references to them.
pub(super) fn compare(walk: &mut Walk<'_>, claims: &Claims) -> Result<(), Problem> {
    let order = walk.header.refcount_order;
    // Each refcount has 2^order bits, each block is one cluster: a power of two that divides the window.
    let per_block = (walk.layout.cluster_size() * 8) >> order;
    let window = claims.window();
    let mut first = window.first;
    while first < window.end {
        let end = window.end.min(first.saturating_add(per_block));
        let block = usize::try_from(first / per_block).ok();
        let block = block.and_then(|block| walk.tables.blocks.get(block)).copied().unwrap_or(0);
        if block != 0 {
            read_padded(walk.file, &mut walk.cluster, block)?;
        }
        for cluster in first..end {
            let found = claims.references(cluster);
            if found == 0 {
                continue;
            }
            let counted =
                if block == 0 { 0 } else { refcount(&walk.cluster, cluster % per_block, order) };
            if counted < found {
                let offset = walk.layout.offset_of(cluster);
                return Err(Problem::Uncounted { offset, counted, found });
            }
        }
        first = end;
    }
    Ok(())
}

/// The refcount of this index in a block of refcounts of `2^order` bits: parts of bytes from the lowest bits up, bytes in network order.
pub(super) fn refcount(block: &[u8], index: u64, order: u32) -> u64 {
    let bit = index << order;
    // Within a block, which is in memory.
    let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    if order < 3 {
        let byte = block.get(at).copied().unwrap_or(0);
        return u64::from(byte >> (bit % 8)) & ((1 << (1 << order)) - 1);
    }
    let bytes = block.get(at..).unwrap_or_default();
    bytes.iter().take(1 << (order - 3)).fold(0, |value, byte| value << 8 | u64::from(*byte))
}
