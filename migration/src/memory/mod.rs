//! Guest memory as snapshots and migration see it: pages, counted through.
//!
//! ```text
//!   GPA      0 ──── region 0 ──── 3 GiB   (hole)   4 GiB ──── region 1 ────
//!   page     0, 1, 2, …            n - 1            n, n + 1, …
//! ```
//!
//! A [`Layout`] says where the regions lie; a page is named by its place in the sequence of all pages of all regions. So
//! a number is a page or is too large, and there are no holes to reckon with. Both ends of a migration, and a snapshot
//! and the VM that is made of it, have the same layout or nothing to do with each other.
//!
//! Invariant: a [`Run`] that came from a layout lies within its pages.

mod file;
mod layout;
mod page_set;
#[cfg(test)]
mod tests;

use std::io;

pub use file::FileMemory;
pub use layout::{InvalidLayout, Layout, MAX_REGIONS, Region, Run};
pub use page_set::PageSet;

/// The size of a page, in bytes: the unit of dirty logs, of snapshots and of the wire.
pub const PAGE_SIZE: usize = 4096;

/// Guest memory that is read while the guest may write it.
pub trait SourceMemory: Sync {
    /// Where the memory lies.
    fn layout(&self) -> &Layout;

    /// Reads whole pages, from page `first` on. A page that the guest writes meanwhile may come out torn; the dirty log
    /// has it then.
    ///
    /// # Errors
    /// The host cannot read it, or there are no such pages.
    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()>;

    /// The first part of `run` that may hold anything but zeros; `None`: it is all zeros.
    ///
    /// # Errors
    /// The host does not tell.
    fn next_data(&self, run: Run) -> io::Result<Option<Run>>;
}

/// Guest memory that is filled before a guest runs. It is all zeros to begin with.
pub trait DestinationMemory: Sync {
    /// Where the memory lies.
    fn layout(&self) -> &Layout;

    /// Writes whole pages, from page `first` on.
    ///
    /// # Errors
    /// The host cannot write it, or there are no such pages.
    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()>;

    /// Makes pages zeros again.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn zero(&self, run: Run) -> io::Result<()>;
}

/// Whether a page, or several, hold nothing but zeros.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // In pieces that the compiler makes vectors of; most pages that are not zeros say so in their first piece.
    bytes.chunks(128).all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Splits pages into runs of zeros and of data: each with its first page, counted from the first of `bytes`.
pub fn split_zeros(bytes: &[u8]) -> impl Iterator<Item = (Contents, &[u8], u64)> {
    let mut rest = bytes;
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = is_zero(rest.chunks(PAGE_SIZE).next()?);
        let same = rest.chunks(PAGE_SIZE).take_while(|page| is_zero(page) == first).count();
        let (run, later) = rest.split_at((same * PAGE_SIZE).min(rest.len()));
        let place = at;
        rest = later;
        at += same as u64;
        let contents = if first { Contents::Zeros } else { Contents::Data };
        Some((contents, run, place))
    })
}

/// What pages hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Zeros only.
    Zeros,
    /// Something else.
    Data,
}
