//! What can be wrong with a memory configuration, or with the host that it is for.

use std::io;

use thiserror::Error;

use super::layout::PAGE_SIZE;

/// Why guest RAM could not be made. Sizes are in bytes.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// No RAM at all.
    #[error("memory size is 0; a VM needs some RAM, e.g. size=512M")]
    Zero,
    /// The size is no whole number of pages.
    #[error("memory size {size} is not a multiple of the page size ({PAGE_SIZE} bytes)")]
    Unaligned {
        /// The size asked for.
        size: u64,
    },
    /// The size is no whole number of huge pages.
    #[error("memory size {size} is not a multiple of the huge page size ({page} bytes)")]
    UnalignedHuge {
        /// The size asked for.
        size: u64,
        /// The huge page size.
        page: u64,
    },
    /// The RAM's end is past what the guest's processors can address.
    #[error(
        "memory size {size} is too big: this host's KVM gives a guest {bits} physical address bits, \
         enough for {} bytes of RAM", max_size(*.bits)
    )]
    TooBig {
        /// The size asked for.
        size: u64,
        /// Physical address bits.
        bits: u8,
    },
    /// The end of what may be plugged later is past what the guest's processors can address.
    #[error(
        "hotplug_size {hot} is too much beside {size} bytes of RAM: this host's KVM gives a guest {bits} physical address bits"
    )]
    HotTooBig {
        /// Bytes that may be plugged.
        hot: u64,
        /// Bytes of RAM.
        size: u64,
        /// Physical address bits.
        bits: u8,
    },
    /// A huge page size without huge pages.
    #[error("hugepage_size={size} needs hugepages=on")]
    HugePageSizeAlone {
        /// The huge page size asked for.
        size: u64,
    },
    /// A huge page size that the host does not have.
    #[error("this host has no huge pages of {size} bytes; it has {}", list(.available))]
    NoSuchHugePage {
        /// The huge page size asked for.
        size: u64,
        /// The sizes that the host has.
        available: Vec<u64>,
    },
    /// The host's pool of huge pages is too small.
    #[error(
        "not enough huge pages: {needed} of {page} bytes are needed, {free} are free; \
         raise /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages", .page >> 10
    )]
    TooFewHugePages {
        /// Pages needed.
        needed: u64,
        /// Pages free.
        free: u64,
        /// Bytes of one page.
        page: u64,
    },
    /// It is to be faulted in, and the host has less than that.
    #[error(
        "{size} bytes of guest RAM cannot be faulted in (prefault=on): the host has {available} available"
    )]
    TooLittleToPrefault {
        /// Bytes asked for.
        size: u64,
        /// Bytes that the host can give out.
        available: u64,
    },
    /// The host did not give the memory while it was faulted in.
    #[error("cannot fault {size} bytes of guest RAM in (prefault=on): {source}")]
    Prefault {
        /// The size of the RAM.
        size: u64,
        /// What the host said.
        source: io::Error,
    },
    /// It was to come from a snapshot's file on demand, which does not go together with an option.
    #[error(
        "memory_restore_mode=ondemand does not go together with {option}=on: pages that come from a file as they are touched are this \
         process's own; restore with memory_restore_mode=copy"
    )]
    NotOnDemand {
        /// The option.
        option: &'static str,
    },
    /// What another VMM has passed is not its memory.
    #[error("the memory that was passed cannot be this VM's: {problem}")]
    NotAdopted {
        /// What is wrong with it.
        problem: String,
    },
    /// The file that it was to come from is not as long as the memory.
    #[error("a file of {found} bytes does not hold {expected} bytes of guest RAM")]
    FileLength {
        /// Its length.
        found: u64,
        /// The length of the memory.
        expected: u64,
    },
    /// A system call failed.
    #[error("cannot {what} {size} bytes of guest RAM: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// The size of the RAM.
        size: u64,
        /// What the host said.
        source: io::Error,
    },
    /// The mappings make no address space; the layout rules this out.
    #[error("guest RAM regions do not fit together: {0}")]
    Regions(#[from] vm_memory::GuestRegionCollectionError),
}

/// The most RAM that fits below `2^bits` with the hole left out.
fn max_size(bits: u8) -> u64 {
    use super::layout::{HOLE_END, HOLE_START};
    let end = 1u64.checked_shl(u32::from(bits)).unwrap_or(u64::MAX);
    if end > HOLE_END.0 { end - (HOLE_END.0 - HOLE_START.0) } else { end.min(HOLE_START.0) }
}

fn list(sizes: &[u64]) -> String {
    if sizes.is_empty() {
        return "none".to_owned();
    }
    sizes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_leaves_the_hole_out() {
        assert_eq!(max_size(32), 3 << 30);
        assert_eq!(max_size(36), (64 << 30) - (1 << 30));
        assert_eq!(max_size(64), u64::MAX - (1 << 30));
    }

    #[test]
    fn messages_name_the_sizes() {
        let error = MemoryError::NoSuchHugePage { size: 4096, available: vec![2 << 20, 1 << 30] };
        assert_eq!(
            error.to_string(),
            "this host has no huge pages of 4096 bytes; it has 2097152, 1073741824"
        );
        let error = MemoryError::TooFewHugePages { needed: 256, free: 0, page: 2 << 20 };
        assert!(error.to_string().ends_with("hugepages-2048kB/nr_hugepages"), "{error}");
    }
}
