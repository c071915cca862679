//! The embedded guest's own view of itself: read from its memory, through `/proc/PID/mem`, so that
//! neither the VMM nor the guest has to do anything for it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result};
use stillpoint_guest::layout;

use crate::cell::Load;
use crate::mappings::{self, Mapping};
use crate::pace;

/// How long a guest may take until all its vCPUs are in their mode.
const READY_LIMIT: Duration = Duration::from_mins(2);
const READY_LOOK: Duration = Duration::from_millis(5);

/// The memory of a running embedded guest.
pub struct GuestMemory {
    process: File,
    /// Where guest-physical address 0 is in the process.
    base: u64,
    load: Load,
}

impl GuestMemory {
    /// Of the one VM that the process has.
    pub fn of(pid: u32, load: Load) -> Result<Self> {
        let ram: Vec<_> =
            mappings::without_pss(pid)?.into_iter().filter(Mapping::is_guest_ram).collect();
        // Guest-physical 0 is where the memfd begins; a second one would be another VM's.
        let mut begins = ram.iter().filter(|mapping| mapping.offset == 0);
        let base = begins.next().context("the VMM has no mapping of guest RAM")?.start;
        anyhow::ensure!(begins.next().is_none(), "process {pid} has more than one VM");
        let path = format!("/proc/{pid}/mem");
        let process = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self { process, base, load })
    }

    /// Waits until every vCPU is up and in its mode.
    pub fn wait_ready(&self) -> Result<()> {
        let what = format!("all of {} vCPUs to be up", self.load);
        pace::until(&what, READY_LOOK, READY_LIMIT, || Ok(self.ready()?.then_some(())))
            .with_context(|| self.describe())
    }

    /// Every vCPU's heartbeat counter.
    pub fn heartbeats(&self) -> Result<Vec<u64>> {
        let line = usize::try_from(layout::LINE_SIZE).unwrap_or(usize::MAX);
        let count = usize::try_from(self.load.vcpus.get()).unwrap_or(usize::MAX);
        let bytes = self.read(layout::LINES, line * count)?;
        Ok(bytes.chunks_exact(line).map(|line| u64_at(line, layout::LINE_HEARTBEAT)).collect())
    }

    fn ready(&self) -> Result<bool> {
        let control = self.control()?;
        let mode = u64_at(&control, layout::CONTROL_MODE);
        let vcpus = u64::from(self.load.vcpus.get());
        Ok(u64_at(&control, layout::CONTROL_MAGIC) == layout::MAGIC
            && u32_at(&control, layout::CONTROL_PHASE) == layout::PHASE_RUNNING
            && mode >> 16 & 0xFFFF == u64::from(self.load.guest.mode().number())
            && mode & 0xFFFF == vcpus)
    }

    /// Where the guest stands, for a report of what is missing.
    fn describe(&self) -> String {
        match self.control() {
            Ok(control) => format!(
                "the guest's phase is {}, {} of {} vCPUs are up, {} are in their mode",
                u32_at(&control, layout::CONTROL_PHASE),
                u32_at(&control, layout::CONTROL_UP),
                u32_at(&control, layout::CONTROL_EXPECTED),
                u64_at(&control, layout::CONTROL_MODE) & 0xFFFF,
            ),
            Err(error) => format!("{error:#}"),
        }
    }

    fn control(&self) -> Result<Vec<u8>> {
        self.read(layout::CONTROL, usize::try_from(layout::CONTROL_SIZE).unwrap_or(usize::MAX))
    }

    fn read(&self, guest_physical: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.process
            .read_exact_at(&mut bytes, self.base + guest_physical)
            .with_context(|| format!("cannot read the guest's memory at {guest_physical:#x}"))?;
        Ok(bytes)
    }
}

/// The little-endian number at an offset; 0 if it is not there.
fn u64_at(bytes: &[u8], offset: u64) -> u64 {
    field(bytes, offset).map_or(0, u64::from_le_bytes)
}

/// The little-endian number at an offset; 0 if it is not there.
fn u32_at(bytes: &[u8], offset: u64) -> u32 {
    field(bytes, offset).map_or(0, u32::from_le_bytes)
}

fn field<const N: usize>(bytes: &[u8], offset: u64) -> Option<[u8; N]> {
    bytes.get(usize::try_from(offset).ok()?..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_absent_ones_are_zero() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u32_at(&bytes, 1), 0x0504_0302);
        assert_eq!(u64_at(&bytes, 1), 0x0908_0706_0504_0302);
        assert_eq!(u64_at(&bytes, 2), 0);
        assert_eq!(u64_at(&bytes, u64::MAX), 0);
    }
}
