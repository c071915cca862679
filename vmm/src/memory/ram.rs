//! The handle on guest RAM.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use super::advise::{Keep, Span};
use super::{GuestMemory, MemoryError, hugepages, layout, prefault};
use crate::config::MemoryConfig;

/// Guest RAM. Clones are handles on the same memory; it is unmapped with the last of them.
#[derive(Clone, Debug)]
pub struct GuestRam {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    memory: GuestMemory,
    memfd: Arc<File>,
    size: u64,
    /// Bytes that may be plugged later; they follow the RAM in the memfd.
    hot: u64,
    sharing: Sharing,
    faulting: Faulting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Private,
    Shared,
}

/// When pages come from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faulting {
    /// When the guest touches them.
    OnTouch,
    /// When they become the guest's.
    Ahead,
}

/// One contiguous piece of RAM: what `KVM_SET_USER_MEMORY_REGION` needs, and where its bytes
/// are in the memfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRegion {
    /// Where the guest sees it.
    pub gpa: GuestAddress,
    /// Bytes; a multiple of the page size.
    pub size: u64,
    /// Where this process has it mapped.
    pub host_address: u64,
    /// Where it begins in the memfd.
    pub memfd_offset: u64,
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
        let config = &config.whole();
        let page = check(config, address_bits)?;
        let (size, hot) = (config.size, config.hotplug());
        let memfd = Arc::new(File::from(make_memfd(size + hot, page)?));
        let mut regions = Vec::with_capacity(3);
        let mut offset = 0;
        for (base, len) in layout::split(size).into_iter().filter(|&(_, len)| len > 0) {
            regions.push(map(&memfd, offset, base, len, size, page)?);
            offset += len;
        }
        let booted_with = regions.len();
        if let Some(base) = layout::hot_start(size).filter(|_| hot > 0) {
            regions.push(map(&memfd, offset, base, hot, hot, page)?);
        }
        let memory = GuestMemory::from_regions(regions)?;
        advise(&memory, config, page);
        if config.prefault {
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
        Ok(Self { inner: Arc::new(Inner { memory, memfd, size, hot, sharing, faulting }) })
    }

    /// Bytes of RAM that the guest boots with.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// The checked view to read and write through.
    pub fn memory(&self) -> &GuestMemory {
        &self.inner.memory
    }

    /// Bytes of RAM below the 32-bit hole, where everything that boots a guest goes.
    pub fn low_size(&self) -> u64 {
        layout::split(self.inner.size)[0].1
    }

    /// What may be plugged later: where it begins, and its bytes.
    pub fn hot_region(&self) -> Option<(GuestAddress, u64)> {
        let Inner { size, hot, .. } = *self.inner;
        layout::hot_start(size).filter(|_| hot > 0).map(|start| (start, hot))
    }

    /// One past the highest address that memory has or may get.
    pub fn end(&self) -> u64 {
        // It was checked that there is one.
        layout::end_of_memory(self.inner.size, self.inner.hot).unwrap_or(u64::MAX)
    }

    /// When pages come from the host.
    pub(super) fn faulting(&self) -> Faulting {
        self.inner.faulting
    }

    /// The regions, by ascending guest physical address; the last is the one of [`GuestRam::hot_region`], if there is one.
    pub fn regions(&self) -> impl Iterator<Item = RamRegion> {
        self.inner.memory.iter().map(|region| RamRegion {
            gpa: region.start_addr(),
            size: region.len(),
            // A usize fits in 64 bits on every host that this crate builds for.
            host_address: region.as_ptr().expose_provenance() as u64,
            memfd_offset: region.file_offset().map_or(0, FileOffset::start),
        })
    }

    /// The memfd behind the mapping, for use inside this process.
    pub fn memfd(&self) -> BorrowedFd<'_> {
        self.inner.memfd.as_fd()
    }

    /// The memfd to hand to another process, if the VM was configured with `shared=on`.
    pub fn shareable_memfd(&self) -> Option<BorrowedFd<'_>> {
        (self.inner.sharing == Sharing::Shared).then(|| self.memfd())
    }
}

/// Checks everything that can be checked before the host is asked. Returns the huge page size.
fn check(config: &MemoryConfig, address_bits: u8) -> Result<Option<u64>, MemoryError> {
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
    memfd: &Arc<File>,
    offset: u64,
    base: GuestAddress,
    len: u64,
    size: u64,
    huge_page: Option<u64>,
) -> Result<GuestRegionMmap<()>, MemoryError> {
    let too_big = || MemoryError::Host {
        what: "map",
        size,
        source: io::Error::from(io::ErrorKind::OutOfMemory),
    };
    let bytes = usize::try_from(len).map_err(|_| too_big())?;
    // Huge pages are reserved by mmap (no MAP_NORESERVE), so that too few of them is an error
    // here and not a SIGBUS later.
    let reserve = if huge_page.is_some() { 0 } else { libc::MAP_NORESERVE };
    let mapping = MmapRegionBuilder::new(bytes)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_SHARED | reserve)
        .with_file_offset(FileOffset::from_arc(Arc::clone(memfd), offset))
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
    GuestRegionMmap::new(mapping, base).ok_or_else(too_big)
}

/// Advice is only advice: a host that can't follow it still runs the VM.
fn advise(memory: &GuestMemory, config: &MemoryConfig, huge_page: Option<u64>) {
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

pub(super) fn host(what: &'static str, size: u64, errno: Errno) -> MemoryError {
    MemoryError::Host { what, size, source: errno.into() }
}

#[cfg(test)]
#[path = "ram_tests.rs"]
mod tests;
