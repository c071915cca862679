//! Making guest RAM: checking what is asked for, the memfd or a snapshot's file, mappings, advice.

use std::fs::File;
use std::io;
use std::sync::Arc;

use devices::memory::{GuestRegion, RegionLog};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError, NewBitmap};
use vm_memory::{FileOffset, GuestAddress};

use super::advise::{Keep, Span};
use super::lazy::Missing;
use super::ram::{Backing, Faulting, Inner, Sharing};
use super::{GuestMemory, GuestRam, MemoryError, hugepages, layout, prefault};
use crate::config::MemoryConfig;

/// When what is to be faulted in is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Now,
    Later,
}

impl GuestRam {
    /// Makes the RAM that `config` asks for. `address_bits` is the number of physical address
    /// bits of the guest's processors (CPUID leaf 0x8000_0008, EAX bits 7:0).
    ///
    /// The mapping is always `MAP_SHARED`, also without `shared`: in a private mapping of a
    /// memfd the first write to a page allocates it twice, in the memfd and as the private copy.
    /// What `shared` decides is whether the memfd may leave this process
    /// ([`shareable_memfd`](Self::shareable_memfd)).
    pub fn new(config: &MemoryConfig, address_bits: u8) -> Result<Self, MemoryError> {
        Self::of_memfd(config, address_bits, Fill::Now)
    }

    /// The same with nothing faulted in yet, whatever `config` says of that: what it holds is still to come.
    ///
    /// # Errors
    /// As for [`new`](Self::new); huge pages do not come one by one.
    pub fn to_be_filled(config: &MemoryConfig, address_bits: u8) -> Result<Self, MemoryError> {
        if config.hugepages {
            return Err(MemoryError::NotOnDemand { option: "hugepages" });
        }
        Self::of_memfd(config, address_bits, Fill::Later)
    }

    fn of_memfd(config: &MemoryConfig, address_bits: u8, fill: Fill) -> Result<Self, MemoryError> {
        let config = &config.whole();
        let page = check(config, address_bits)?;
        let memfd = Arc::new(File::from(make_memfd(config.size + config.hotplug(), page)?));
        Self::map(config, Backing::Memfd(memfd), (page, fill))
    }

    /// The same RAM with the contents of a file, which holds all regions one behind the other, as a snapshot's memory does. It
    /// is mapped privately: pages come from it when they are touched, and those that are written are this VM's from then on. The file is never
    /// changed, and may be removed from its directory meanwhile. Whoever changes or shortens it does so to the guest's memory; a
    /// page that is not there any more ends the VMM (SIGBUS).
    ///
    /// # Errors
    /// As for [`new`](Self::new); the file has another length; or the memory cannot be had that way: one that is shared with other processes would
    /// be shared from the file, and huge pages have no file.
    pub fn over(
        config: &MemoryConfig,
        address_bits: u8,
        file: Arc<File>,
    ) -> Result<Self, MemoryError> {
        let config = &config.whole();
        let options = [(config.shared, "shared"), (config.hugepages, "hugepages")];
        if let Some((_, option)) = options.into_iter().find(|(is_on, _)| *is_on) {
            return Err(MemoryError::NotOnDemand { option });
        }
        let page = check(config, address_bits)?;
        let expected = config.size + config.hotplug();
        let len = file.metadata().map_err(|source| MemoryError::Host {
            what: "measure the file with",
            size: expected,
            source,
        })?;
        if len.len() != expected {
            return Err(MemoryError::FileLength { found: len.len(), expected });
        }
        Self::map(config, Backing::Snapshot(file), (page, Fill::Now))
    }

    pub(super) fn map(
        config: &MemoryConfig,
        backing: Backing,
        (page, fill): (Option<u64>, Fill),
    ) -> Result<Self, MemoryError> {
        let (size, hot) = (config.size, config.hotplug());
        let mut regions = Vec::with_capacity(3);
        let mut offset = 0;
        for (base, len) in layout::split(size).into_iter().filter(|&(_, len)| len > 0) {
            regions.push(map(&backing, (offset, base, len), size, page)?);
            offset += len;
        }
        let booted_with = regions.len();
        if let Some(base) = layout::hot_start(size).filter(|_| hot > 0) {
            regions.push(map(&backing, (offset, base, hot), hot, page)?);
        }
        let memory = GuestMemory::from_regions(regions)?;
        advise(&memory, config, page);
        if config.prefault && fill == Fill::Now {
            // Huge pages come from a pool of their own, whose size was looked at before.
            if let Some(available) = prefault::available()
                && available < size
                && !config.hugepages
            {
                return Err(MemoryError::TooLittleToPrefault { size, available });
            }
            prefault::all(&memory, booted_with)
                .map_err(|source| MemoryError::Prefault { size, source })?;
        }
        let sharing = if config.shared { Sharing::Shared } else { Sharing::Private };
        let faulting = if config.prefault { Faulting::Ahead } else { Faulting::OnTouch };
        let missing = Missing::default();
        Ok(Self::of(Inner { memory, backing, size, hot, sharing, faulting, missing }))
    }
}

/// Checks everything that can be checked before the host is asked. Returns the huge page size.
pub(super) fn check(config: &MemoryConfig, address_bits: u8) -> Result<Option<u64>, MemoryError> {
    let size = config.size;
    if size == 0 {
        return Err(MemoryError::Zero);
    }
    if !size.is_multiple_of(layout::PAGE_SIZE) {
        return Err(MemoryError::Unaligned { size });
    }
    let limit = 1u64.checked_shl(u32::from(address_bits)).unwrap_or(u64::MAX);
    if layout::end_of_ram(size).is_none_or(|end| end > limit) {
        return Err(MemoryError::TooBig { size, bits: address_bits });
    }
    let hot = config.hotplug();
    if layout::end_of_memory(size, hot).is_none_or(|end| end > limit) {
        return Err(MemoryError::HotTooBig { hot, size, bits: address_bits });
    }
    let page = huge_page_size(config)?;
    if let Some(page) = page
        && !size.is_multiple_of(page)
    {
        return Err(MemoryError::UnalignedHuge { size, page });
    }
    Ok(page)
}

fn huge_page_size(config: &MemoryConfig) -> Result<Option<u64>, MemoryError> {
    match (config.hugepages, config.hugepage_size) {
        (false, None) => Ok(None),
        (false, Some(size)) => Err(MemoryError::HugePageSizeAlone { size }),
        (true, wanted) => {
            let available = hugepages::sizes();
            let size = wanted.or_else(hugepages::default_size).unwrap_or(0);
            // A pool's size is a power of two, which the memfd flags need.
            if size.is_power_of_two() && available.contains(&size) {
                Ok(Some(size))
            } else {
                Err(MemoryError::NoSuchHugePage { size, available })
            }
        }
    }
}

fn make_memfd(size: u64, huge_page: Option<u64>) -> Result<rustix::fd::OwnedFd, MemoryError> {
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if let Some(page) = huge_page {
        // memfd_create(2): the logarithm of the page size, in the bits from MFD_HUGE_SHIFT on.
        let log2 = page.trailing_zeros() << libc::MFD_HUGE_SHIFT;
        flags |= MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(log2);
    }
    // Guest RAM is never executed by the host. Kernels before 6.3 don't know the flag.
    let memfd = match rustix::fs::memfd_create("stillpoint-ram", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create("stillpoint-ram", flags),
        other => other,
    }
    .map_err(|errno| host("create a memfd for", size, errno))?;
    rustix::fs::ftruncate(&memfd, size).map_err(|errno| host("size a memfd for", size, errno))?;
    rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
        .map_err(|errno| host("seal the memfd of", size, errno))?;
    Ok(memfd)
}

fn map(
    backing: &Backing,
    (offset, base, len): (u64, GuestAddress, u64),
    size: u64,
    huge_page: Option<u64>,
) -> Result<GuestRegion, MemoryError> {
    let too_big = || MemoryError::Host {
        what: "map",
        size,
        source: io::Error::from(io::ErrorKind::OutOfMemory),
    };
    let bytes = usize::try_from(len).map_err(|_| too_big())?;
    // Huge pages are reserved by mmap (no MAP_NORESERVE), so that too few of them is an error
    // here and not a SIGBUS later.
    let reserve = if huge_page.is_some() { 0 } else { libc::MAP_NORESERVE };
    let sharing = match backing {
        Backing::Memfd(_) => libc::MAP_SHARED,
        Backing::Snapshot(_) => libc::MAP_PRIVATE,
    };
    let mapping = MmapRegionBuilder::new_with_bitmap(bytes, RegionLog::with_len(bytes))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(sharing | reserve)
        .with_file_offset(FileOffset::from_arc(Arc::clone(backing.file()), offset))
        .with_hugetlbfs(huge_page.is_some())
        .build()
        .map_err(|error| match (error, huge_page) {
            (MmapRegionError::Mmap(source), Some(page))
                if source.raw_os_error() == Some(libc::ENOMEM) =>
            {
                MemoryError::TooFewHugePages {
                    needed: size / page,
                    free: hugepages::free(page),
                    page,
                }
            }
            (MmapRegionError::Mmap(source), _) => MemoryError::Host { what: "map", size, source },
            (other, _) => MemoryError::Host { what: "map", size, source: io::Error::other(other) },
        })?;
    GuestRegion::new(mapping, base).ok_or_else(too_big)
}

/// Advice is only advice: a host that can't follow it still runs the VM.
pub(super) fn advise(memory: &GuestMemory, config: &MemoryConfig, huge_page: Option<u64>) {
    let thp = match (huge_page, config.thp) {
        (Some(_), _) => None,
        (None, true) => Some(Keep::HugePages),
        (None, false) => Some(Keep::NoHugePages),
    };
    for span in Span::of(memory) {
        for advice in thp.into_iter().chain([Keep::OutOfDumps]) {
            if let Err(error) = span.advise(advice) {
                tracing::debug!(?advice, %error, "the host does not take this memory advice");
            }
        }
    }
}

fn host(what: &'static str, size: u64, errno: Errno) -> MemoryError {
    MemoryError::Host { what, size, source: errno.into() }
}

#[cfg(test)]
#[path = "ram_tests.rs"]
mod tests;
