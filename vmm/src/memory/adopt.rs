//! Guest RAM that another VMM on this host has had so far: its memfd, taken over.
//!
//! ```text
//!   adopt ──▶ Apart: mapped privately, what is written here stays here ──own──▶ mapped shared: the RAM of this VM like any other
//! ```
//!
//! While a VM is built and restored, KVM writes to its memory now and then by itself (kvmclock's wall clock, the flag that a vCPU was
//! preempted). Until the other VMM has given the VM away, the memory is the other's, who may go on with it.
//!
//! Invariants:
//! - Nothing that this process does before [`Apart::own`] changes the file.
//! - The file is a memfd that nobody can shrink, as long as the RAM and of its pages.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{SealFlags, fcntl_get_seals, fstatfs};
use rustix::mm::MapFlags;

use super::advise::Span;
use super::claim::reopen;
use super::make::{Fill, advise, check};
use super::ram::{Backing, Faulting};
use super::{GuestRam, MemoryError, layout};
use crate::config::MemoryConfig;

/// More bits than any processor's physical addresses have: the other VMM runs here, with this RAM.
const ANY_ADDRESS_BITS: u8 = 57;

/// RAM that is another VMM's still.
#[derive(Debug)]
pub struct Apart {
    ram: GuestRam,
    config: MemoryConfig,
    /// The size of its huge pages, if it is made of such.
    page: Option<u64>,
}

impl GuestRam {
    /// Takes over the memory of another VM of the same configuration, for when that gives it away.
    ///
    /// # Errors
    /// The file is no such memory.
    pub fn adopt(config: &MemoryConfig, file: OwnedFd) -> Result<Apart, MemoryError> {
        let config = config.whole();
        let page = check(&config, ANY_ADDRESS_BITS)?;
        let passed = File::from(file);
        inspect(&passed, &config, page)?;
        let file = reopen(&passed).map_err(|source| MemoryError::Host {
            what: "open",
            size: config.size,
            source,
        })?;
        // It is there already: nothing is faulted in.
        let lazy = MemoryConfig { prefault: false, ..config.clone() };
        let mut ram = Self::map(&lazy, Backing::Memfd(Arc::new(file)), (page, Fill::Now))?;
        if config.prefault {
            ram = ram.with_faulting(Faulting::Ahead);
        }
        let apart = Apart { ram, config, page };
        apart.remap(MapFlags::PRIVATE).map_err(|source| MemoryError::Host {
            what: "map",
            size: apart.ram.size(),
            source,
        })?;
        Ok(apart)
    }
}

impl Apart {
    /// The RAM, to build a VM around it.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// It is this VM's from now on: what is written is in the file. What this process has written before is gone. Nothing of the VM runs.
    ///
    /// # Errors
    /// Somebody has it, or the host cannot map it; it is the other's still.
    pub fn own(&self) -> io::Result<()> {
        self.ram.claim().map_err(io::Error::other)?;
        self.remap(MapFlags::SHARED)?;
        // Advice is of a mapping, and these are new ones.
        advise(self.ram.memory(), &self.config, self.page);
        Ok(())
    }

    fn remap(&self, sharing: MapFlags) -> io::Result<()> {
        let file = self.ram.backing().file();
        let spans = Span::of(self.ram.memory());
        let mut places = self.ram.regions().zip(spans);
        places.try_for_each(|(region, span)| {
            span.replace_by_file(file.as_fd(), region.file_offset, sharing)
        })
    }
}

/// Whether it can be the memory of such a VM.
fn inspect(file: &File, config: &MemoryConfig, page: Option<u64>) -> Result<(), MemoryError> {
    let not = |problem: String| Err(MemoryError::NotAdopted { problem });
    let needed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let frozen = SealFlags::WRITE | SealFlags::FUTURE_WRITE;
    match fcntl_get_seals(file) {
        Ok(seals) if seals.contains(needed) && !seals.intersects(frozen) => {}
        Ok(seals) => return not(format!("a memfd with other seals ({seals:?})")),
        Err(_) => return not("it is no memfd".to_owned()),
    }
    let host = |source| MemoryError::Host { what: "measure", size: config.size, source };
    let (found, expected) = (file.metadata().map_err(host)?.len(), config.size + config.hotplug());
    if found != expected {
        return not(format!("it has {found} bytes, the VM's memory has {expected}"));
    }
    let pages = fstatfs(file).map_err(|errno| host(errno.into()))?.f_bsize;
    let expected = page.unwrap_or(layout::PAGE_SIZE);
    if u64::try_from(pages) != Ok(expected) {
        return not(format!(
            "it has pages of {pages} bytes, the VM's memory has pages of {expected}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    const SIZE: u64 = 4 << 20;

    fn config(size: u64) -> MemoryConfig {
        MemoryConfig { size, ..MemoryConfig::default() }
    }

    fn memfd(ram: &GuestRam) -> OwnedFd {
        ram.memfd().unwrap().try_clone_to_owned().unwrap()
    }

    #[test]
    fn what_is_written_before_the_memory_is_ones_own_is_never_in_it() {
        let other = GuestRam::new(&config(SIZE), 36).unwrap();
        other.memory().write_slice(&[1; 8192], GuestAddress(4096)).unwrap();
        let apart = GuestRam::adopt(&config(SIZE), memfd(&other)).unwrap();
        let ram = apart.ram();
        let read = |ram: &GuestRam, at| ram.memory().read_obj::<u8>(GuestAddress(at)).unwrap();
        assert_eq!((read(ram, 4095), read(ram, 4096), read(ram, 12_288)), (0, 1, 0));
        ram.memory().write_slice(&[2; 4096], GuestAddress(4096)).unwrap();
        ram.memory().write_slice(&[2; 4096], GuestAddress(1 << 20)).unwrap();
        assert_eq!((read(ram, 4096), read(&other, 4096), read(&other, 1 << 20)), (2, 1, 0));
        // As long as the other has it, it is not one's own.
        other.claim().unwrap();
        apart.own().unwrap_err();
        assert_eq!(read(ram, 4096), 2);
        other.release();
        // The other goes on with it meanwhile, if it likes.
        other.memory().write_slice(&[3], GuestAddress(8192)).unwrap();
        apart.own().unwrap();
        assert_eq!((read(ram, 4096), read(ram, 8192), read(ram, 1 << 20)), (1, 3, 0));
        ram.memory().write_slice(&[4; 4096], GuestAddress(1 << 20)).unwrap();
        assert_eq!(read(&other, 1 << 20), 4);
        assert!(other.claim().is_err(), "it has another owner");
        // It outlives the other's.
        drop(other);
        assert_eq!(read(ram, 1 << 20), 4);
    }

    #[test]
    fn memory_with_a_part_that_can_be_plugged_is_taken_over_whole_and_without_faulting_it_in() {
        let config = MemoryConfig {
            hotplug_size: Some(256 << 20),
            hotplug_method: crate::config::HotplugMethod::VirtioMem,
            prefault: true,
            ..config(SIZE)
        };
        let other = GuestRam::new(&MemoryConfig { prefault: false, ..config.clone() }, 36).unwrap();
        let (hot, _) = other.hot_region().unwrap();
        other.memory().write_slice(&[7], hot).unwrap();
        let apart = GuestRam::adopt(&config, memfd(&other)).unwrap();
        apart.own().unwrap();
        assert_eq!(apart.ram().memory().read_obj::<u8>(hot).unwrap(), 7);
        let taken = rustix::fs::fstat(other.memfd().unwrap()).unwrap().st_blocks * 512;
        assert!(taken < 64 << 10, "{taken} bytes");
    }

    #[test]
    fn what_is_no_such_memory_is_refused() {
        let other = GuestRam::new(&config(SIZE), 36).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[0], SIZE - 1).unwrap();
        let open = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&open, SIZE).unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        for (size, file, told) in [
            (SIZE, file.into(), "no memfd"),
            (SIZE, reader.into(), "no memfd"),
            (SIZE, open, "other seals"),
            (2 * SIZE, memfd(&other), "has 4194304 bytes, the VM's memory has 8388608"),
        ] {
            let error = GuestRam::adopt(&config(size), file).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
