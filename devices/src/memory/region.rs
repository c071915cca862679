//! A region of guest RAM, parts of which may still have to come.
//!
//! ```text
//!   Whole ──watched──▶ Coming ──all pages placed──▶ Whole
//!                         └────the VM ends before that──▶ GivenUp
//! ```
//!
//! Who asks for a part of a region that is coming waits in the kernel until its pages are there, or gets an error if they never will be, before it touches
//! the first of them. A thread that touched a page that cannot be had could be given nothing: it would end by a signal, and the process with it.
//!
//! Invariant: whatever was handed out is there, and stays there. Nothing is handed out that was found missing after it was given up.

use std::ops::Deref;
use std::sync::atomic::{AtomicU8, Ordering};

use vm_memory::bitmap::BS;
use vm_memory::mmap::FromRangesError;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestRegionMmap, GuestUsize, MemoryRegionAddress, MmapRegion,
};

use super::populate::populate;
use super::{GuestMemory, GuestSlice, RegionLog};

/// Whether pages of guest RAM have to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Presence {
    /// All are there.
    Whole,
    /// Some are not; they come.
    Coming,
    /// Some are not, and will not be.
    GivenUp,
}

/// A region of guest RAM.
#[derive(Debug)]
pub struct GuestRegion {
    mapped: GuestRegionMmap<RegionLog>,
    /// A [`Presence`]. Out of a checker's sight, as a region's log is: it orders nothing but what the kernel does.
    presence: AtomicU8,
}

impl GuestRegion {
    /// A region that is whole; `None` if it does not fit behind `base`.
    #[must_use]
    pub fn new(mapping: MmapRegion<RegionLog>, base: GuestAddress) -> Option<Self> {
        GuestRegionMmap::new(mapping, base).map(Self::of)
    }

    fn of(mapped: GuestRegionMmap<RegionLog>) -> Self {
        Self { mapped, presence: AtomicU8::new(Presence::Whole as u8) }
    }

    fn is(&self, presence: Presence) -> bool {
        // Acquire: pairs with `set_presence`.
        self.presence.load(Ordering::Acquire) == presence as u8
    }

    /// Waits until what is handed out is there.
    #[cold]
    fn await_pages(&self, slice: &GuestSlice<'_>) -> Result<(), GuestMemoryError> {
        if slice.is_empty() {
            return Ok(());
        }
        let address = slice.ptr_guard().as_ptr().addr();
        match populate(&self.mapped, address, slice.len()) {
            Err(error) if self.is(Presence::GivenUp) => Err(GuestMemoryError::IOError(error)),
            // A kernel that cannot wait so (before Linux 5.14): who touches it waits.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Deref for GuestRegion {
    type Target = GuestRegionMmap<RegionLog>;

    fn deref(&self) -> &Self::Target {
        &self.mapped
    }
}

impl GuestMemoryRegion for GuestRegion {
    type B = RegionLog;

    fn len(&self) -> GuestUsize {
        self.mapped.len()
    }

    fn start_addr(&self) -> GuestAddress {
        self.mapped.start_addr()
    }

    fn bitmap(&self) -> BS<'_, RegionLog> {
        GuestMemoryRegion::bitmap(&self.mapped)
    }

    fn get_host_address(&self, address: MemoryRegionAddress) -> Result<*mut u8, GuestMemoryError> {
        self.mapped.get_host_address(address)
    }

    fn file_offset(&self) -> Option<&FileOffset> {
        GuestMemoryRegion::file_offset(&self.mapped)
    }

    fn is_hugetlbfs(&self) -> Option<bool> {
        GuestMemoryRegion::is_hugetlbfs(&self.mapped)
    }

    #[inline]
    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> Result<GuestSlice<'_>, GuestMemoryError> {
        let slice = GuestMemoryRegion::get_slice(&self.mapped, offset, count)?;
        if !self.is(Presence::Whole) {
            self.await_pages(&slice)?;
        }
        Ok(slice)
    }
}

impl GuestMemoryRegionBytes for GuestRegion {}

/// Says of all of this memory whether pages have to come. Who asks for some of it afterwards finds it so.
pub fn set_presence(memory: &GuestMemory, presence: Presence) {
    for region in vm_memory::GuestMemoryBackend::iter(memory) {
        // Release: pairs with `GuestRegion::is`; what comes after it in the kernel is found after it.
        region.presence.store(presence as u8, Ordering::Release);
    }
}

/// Anonymous memory that is whole, for tests and fuzzers.
///
/// # Errors
/// The host has none, or the ranges do not fit together.
pub fn anonymous(ranges: &[(GuestAddress, usize)]) -> Result<GuestMemory, FromRangesError> {
    let region = |&(base, len)| GuestRegionMmap::from_range(base, len, None).map(GuestRegion::of);
    let regions: Result<_, _> = ranges.iter().map(region).collect();
    Ok(GuestMemory::from_regions(regions?)?)
}
