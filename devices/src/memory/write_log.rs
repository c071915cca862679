//! The log of what this process writes into guest RAM, as long as somebody wants it.
//!
//! ```text
//!   off ──start──▶ on ──take──▶ on … ──drop──▶ off
//! ```
//!
//! KVM's log knows what vCPUs write; this one knows the rest: devices' workers, and what the kernel does for them with
//! addresses of guest RAM (io_uring, `readv`), which is noted when it has ended, by [`wrote`].
//!
//! Invariant: a write that is not in a take is visible to everybody who reads after the start or after an earlier take.

use std::io;

use rustix::thread::{MembarrierCommand, membarrier};
use vm_memory::{GuestMemoryBackend, MmapRegion};

use super::{GuestMemory, GuestRegion, RegionLog};

/// A log that is on. Dropping it switches it off.
#[derive(Debug)]
pub struct WriteLog {
    memory: GuestMemory,
}

impl WriteLog {
    /// Switches the log of this memory on, with nothing noted.
    ///
    /// # Errors
    /// It is on already, or the kernel has no barrier for it (`membarrier(2)`).
    pub fn start(memory: &GuestMemory) -> io::Result<Self> {
        // Who has the first region has the others.
        if memory.iter().next().is_some_and(|region| !log_of(region).switch_on()) {
            let what = "the log of guest memory is in use";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
        }
        for region in memory.iter().skip(1) {
            log_of(region).switch_on();
        }
        let log = Self { memory: memory.clone() };
        // A writer writes, then looks; whoever reads the memory has switched the log on before. For one of the two to see the
        // other, each needs a full barrier in between. This is the writers', so that they need not have one at each write.
        barrier()?;
        Ok(log)
    }

    /// Takes the pages that were noted since the last time: for each region, in the memory's order, 64 to a word.
    /// What is read of them afterwards is not older than the writes.
    pub fn take(&mut self, mut each: impl FnMut(usize, &[u64])) {
        let mut words = Vec::new();
        for (place, region) in self.memory.iter().enumerate() {
            words.clear();
            words.extend(log_of(region).take());
            each(place, &words);
        }
    }
}

impl Drop for WriteLog {
    fn drop(&mut self) {
        // The first one last: it stands for all.
        let regions: Vec<_> = self.memory.iter().collect();
        regions.iter().rev().for_each(|region| log_of(region).switch_off());
    }
}

/// The log of a region. (The region's own `bitmap` is that of its contents from a place on.)
#[inline]
fn log_of(region: &GuestRegion) -> &RegionLog {
    MmapRegion::bitmap(region)
}

/// Has every running thread of the process pass a full memory barrier.
fn barrier() -> io::Result<()> {
    let expedited = membarrier(MembarrierCommand::RegisterPrivateExpedited)
        .and_then(|()| membarrier(MembarrierCommand::PrivateExpedited));
    // Linux 4.14 has the fast one; the slow one waits for every CPU of the host.
    Ok(expedited.or_else(|_| membarrier(MembarrierCommand::Global))?)
}

/// Notes that the kernel, or whoever has been given the address, has written `len` bytes of guest RAM at `address` of this
/// process. To be called when it has, and before the driver can know. What is no guest RAM is left out.
#[inline]
pub fn wrote(memory: &GuestMemory, address: usize, len: usize) {
    // One region's switch stands for all.
    if memory.iter().next().is_some_and(|region| log_of(region).is_on()) {
        note(memory, address, len);
    }
}

#[cold]
fn note(memory: &GuestMemory, address: usize, len: usize) {
    for region in memory.iter() {
        let base = region.as_ptr().addr();
        let inside = address.checked_sub(base).filter(|offset| *offset < region.size());
        if let Some(offset) = inside {
            log_of(region).mark(offset, len.min(region.size() - offset));
        }
    }
}
