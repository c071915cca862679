//! The handle on guest RAM.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::lazy::Missing;
use super::{GuestMemory, layout};

/// Guest RAM. Clones are handles on the same memory; it is unmapped with the last of them.
#[derive(Clone, Debug)]
pub struct GuestRam {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) memory: GuestMemory,
    pub(super) backing: Backing,
    pub(super) size: u64,
    /// Bytes that may be plugged later; they follow the RAM in the file.
    pub(super) hot: u64,
    pub(super) sharing: Sharing,
    pub(super) faulting: Faulting,
    /// What is still to come of it.
    pub(super) missing: Missing,
}

/// The file whose pages it is made of, all regions one behind the other.
#[derive(Debug)]
pub(super) enum Backing {
    /// Its own, mapped shared: what is in the memory is in the file.
    Memfd(Arc<File>),
    /// A snapshot's, mapped privately: what nobody has written is in the file.
    Snapshot(Arc<File>),
}

impl Backing {
    pub(super) fn file(&self) -> &Arc<File> {
        match self {
            Self::Memfd(file) | Self::Snapshot(file) => file,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
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
/// are in the file behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRegion {
    /// Where the guest sees it.
    pub gpa: GuestAddress,
    /// Bytes; a multiple of the page size.
    pub size: u64,
    /// Where this process has it mapped.
    pub host_address: u64,
    /// Where it begins in the file.
    pub file_offset: u64,
}

impl GuestRam {
    pub(super) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The same RAM, which nobody else has a handle on, with pages that come from the host so.
    pub(super) fn with_faulting(self, faulting: Faulting) -> Self {
        match Arc::try_unwrap(self.inner) {
            Ok(inner) => Self::of(Inner { faulting, ..inner }),
            Err(inner) => Self { inner },
        }
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

    /// Whether it is made of huge pages, to which a file's `write` does not write.
    pub(super) fn is_huge(&self) -> bool {
        self.inner.memory.iter().any(|region| region.is_hugetlbfs() == Some(true))
    }

    /// When pages come from the host.
    pub(super) fn faulting(&self) -> Faulting {
        self.inner.faulting
    }

    /// Bytes of it that are still to come, while the VM runs already (or is about to).
    pub fn missing_bytes(&self) -> u64 {
        self.missing().pages() * layout::PAGE_SIZE
    }

    pub(super) fn missing(&self) -> &Missing {
        &self.inner.missing
    }

    /// Whether pages of it that have not come will not come: the VM ends, and nothing that its vCPUs find or do counts any more.
    #[inline]
    pub(crate) fn is_given_up(&self) -> bool {
        self.missing().is_given_up()
    }

    /// The regions, by ascending guest physical address; the last is the one of [`GuestRam::hot_region`], if there is one.
    pub fn regions(&self) -> impl Iterator<Item = RamRegion> {
        self.inner.memory.iter().map(|region| RamRegion {
            gpa: region.start_addr(),
            size: region.len(),
            // A usize fits in 64 bits on every host that this crate builds for.
            host_address: region.as_ptr().expose_provenance() as u64,
            file_offset: region.file_offset().map_or(0, FileOffset::start),
        })
    }

    /// The file whose pages it is made of.
    pub(super) fn backing(&self) -> &Backing {
        &self.inner.backing
    }

    /// The memfd behind the mapping, for use inside this process; none if it was made over a file.
    pub fn memfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.inner.backing {
            Backing::Memfd(file) => Some(file.as_fd()),
            Backing::Snapshot(_) => None,
        }
    }

    /// The memfd to hand to another process, if the VM was configured with `shared=on`.
    pub fn shareable_memfd(&self) -> Option<BorrowedFd<'_>> {
        (self.inner.sharing == Sharing::Shared).then(|| self.memfd()).flatten()
    }
}
