//! Which pages of a private mapping are this process's own, by `/proc/self/pagemap`
//! (Linux Documentation/admin-guide/mm/pagemap.rst).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::layout::PAGE_SIZE;

/// Bits of an entry: there, in the swap, of a file or shared.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE: u64 = 1 << 61;

/// Entries that are read at once.
const PIECE: usize = 512;

/// The map of this process's pages.
#[derive(Debug)]
pub(super) struct PageMap(File);

impl PageMap {
    pub(super) fn open() -> io::Result<Self> {
        File::open("/proc/self/pagemap").map(Self)
    }

    /// Of `pages` pages from an address on: how many come before the first that is not the file's, and how many of those follow each other.
    pub(super) fn first_own(&self, address: u64, pages: u64) -> io::Result<Option<(u64, u64)>> {
        let (mut first, mut count) = (None, 0);
        let mut bytes = [0; 8 * PIECE];
        for at in (0..pages).step_by(PIECE) {
            let wanted = usize::try_from(pages - at).unwrap_or(PIECE).min(PIECE);
            let bytes = &mut bytes[..8 * wanted];
            self.0.read_exact_at(bytes, (address / PAGE_SIZE + at) * 8)?;
            for (page, entry) in (at..).zip(bytes.chunks_exact(8)) {
                let entry = entry.try_into().map_or(0, u64::from_le_bytes);
                let own = entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0;
                match (own, first) {
                    (true, _) => count += 1,
                    (false, Some(first)) => return Ok(Some((first, count))),
                    (false, None) => continue,
                }
                first = first.or(Some(page));
            }
        }
        Ok(first.map(|first| (first, count)))
    }
}
