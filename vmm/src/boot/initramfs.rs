//! The initial RAM file system: as high in low memory as the kernel takes it, so that it stays
//! out of the way of whatever the kernel puts next to itself.

use std::path::Path;

use vm_memory::{Bytes, GuestAddress};

use super::image;
use super::{BootError, KernelError};
use crate::memory::{GuestRam, layout::PAGE_SIZE};

/// An initramfs in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initramfs {
    pub(super) address: GuestAddress,
    pub(super) size: u64,
}

/// Loads `path` at or above `floor` and below `ceiling`.
pub(super) fn load(
    ram: &GuestRam,
    path: &Path,
    floor: u64,
    ceiling: u64,
) -> Result<Initramfs, BootError> {
    let name = || path.display().to_string();
    let (mut file, size) = image::open(path).map_err(|error| BootError::Initramfs {
        name: name(),
        source: match error {
            KernelError::Io(source) => source,
            other => std::io::Error::other(other.to_string()),
        },
    })?;
    if size == 0 {
        return Err(BootError::InitramfsEmpty { name: name() });
    }
    let ceiling = ceiling.min(ram.low_size());
    let floor = floor.next_multiple_of(PAGE_SIZE);
    let too_big = || BootError::InitramfsTooBig { name: name(), size, floor, ceiling };
    let start = ceiling.checked_sub(size).ok_or_else(too_big)? & !(PAGE_SIZE - 1);
    if start < floor {
        return Err(too_big());
    }
    let address = GuestAddress(start);
    // Less than the RAM, which is mapped, so it fits a usize.
    let count = usize::try_from(size).map_err(|_| too_big())?;
    ram.memory().read_exact_volatile_from(address, &mut file, count)?;
    Ok(Initramfs { address, size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryConfig;

    fn ram() -> GuestRam {
        GuestRam::new(&MemoryConfig { size: 16 << 20, ..MemoryConfig::default() }, 40).unwrap()
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn it_goes_as_high_as_allowed() {
        let (ram, file) = (ram(), file(&[0xA5; 5000]));

        let below_ram_end = load(&ram, file.path(), 1 << 20, u64::MAX).unwrap();
        let below_limit = load(&ram, file.path(), 1 << 20, 8 << 20).unwrap();

        assert_eq!(below_ram_end.address.0, (16 << 20) - 8192);
        assert_eq!(below_limit, Initramfs { address: GuestAddress((8 << 20) - 8192), size: 5000 });
        let mut last = [0; 2];
        ram.memory().read_slice(&mut last, GuestAddress((8 << 20) - 8192 + 4999)).unwrap();
        assert_eq!(last, [0xA5, 0]);
    }

    #[test]
    fn it_may_touch_the_kernel_but_not_overlap_it() {
        let (ram, file) = (ram(), file(&[1; 8192]));
        let (top, kernel) = (16 << 20, (16 << 20) - 8192);
        assert!(load(&ram, file.path(), kernel, top).is_ok());
        let error = load(&ram, file.path(), kernel + 1, top).unwrap_err().to_string();
        assert!(error.contains("its 8192 bytes do not fit"), "{error}");
        assert!(error.contains("there are 4096 bytes"), "{error}");
    }

    #[test]
    fn bad_files_are_told() {
        let ram = ram();
        let empty = load(&ram, file(&[]).path(), 0, u64::MAX).unwrap_err();
        assert!(empty.to_string().ends_with("the file is empty"), "{empty}");
        let missing = load(&ram, Path::new("/nonexistent"), 0, u64::MAX).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent: No such file"), "{missing}");
        let device = load(&ram, Path::new("/dev/zero"), 0, u64::MAX).unwrap_err();
        assert!(device.to_string().contains("not a regular file"), "{device}");
    }
}
