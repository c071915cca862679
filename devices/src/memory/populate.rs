//! Waiting for pages of guest RAM in the kernel, where a page that cannot be had is an error instead of a signal.
#![expect(unsafe_code, reason = "madvise takes an address")]

use std::io;

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use vm_memory::{GuestRegionMmap, MmapRegion};

use super::{PAGE, RegionLog};

/// Returns when the pages of `len` bytes from `address` on are there, as after reading them (`MADV_POPULATE_READ`, Linux 5.14). Whoever watches
/// the memory (userfaultfd) hears of those that are missing.
///
/// # Errors
/// One of them cannot be had, the kernel cannot do that, or it is not of this region.
pub(super) fn populate(
    region: &GuestRegionMmap<RegionLog>,
    address: usize,
    len: usize,
) -> io::Result<()> {
    let region: &MmapRegion<RegionLog> = region;
    let base = region.as_ptr().addr();
    let first = address / PAGE * PAGE;
    let end = address.checked_add(len).map(|end| end.next_multiple_of(PAGE));
    let end =
        end.filter(|end| first >= base && *end <= (base + region.size()).next_multiple_of(PAGE));
    let end = end.ok_or(io::ErrorKind::InvalidInput)?;
    let start = region.as_ptr().with_addr(first).cast();
    loop {
        // SAFETY: the span lies in the region's mapping, which outlives the borrow; populating changes none of its contents.
        match unsafe { madvise(start, end - first, Advice::LinuxPopulateRead) } {
            Ok(()) => return Ok(()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
