//! The embedded guest's own view of itself: read from its memory, through `/proc/PID/mem`, so that
//! neither the VMM nor the guest has to do anything for it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stillpoint_guest::{Control, ControlBytes, Line, LineBytes, layout, line_address};

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
        let count = usize::try_from(self.load.vcpus.get()).unwrap_or(usize::MAX);
        let mut lines = vec![0; size_of::<LineBytes>() * count];
        self.read(line_address(0), &mut lines)?;
        let (lines, _) = lines.as_chunks();
        Ok(lines.iter().map(|line: &LineBytes| Line::parse(line).heartbeat).collect())
    }

    fn ready(&self) -> Result<bool> {
        let Some(control) = self.control()? else { return Ok(false) };
        if let Some(crash) = control.crash {
            bail!("the guest crashed: {crash:x?}");
        }
        let all = control.up == self.load.vcpus.get();
        Ok(all && control.settled() == Some(self.load.guest.mode()))
    }

    /// Where the guest stands, for a report of what is missing.
    fn describe(&self) -> String {
        match self.control() {
            Ok(Some(control)) => format!(
                "the guest's phase is {:?}, {} of {} vCPUs are up, {} are in their mode",
                control.phase,
                control.up,
                control.expected,
                control.mode.acknowledged(),
            ),
            Ok(None) => "the guest has not begun".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    fn control(&self) -> Result<Option<Control>> {
        let mut bytes: ControlBytes = [0; _];
        self.read(layout::CONTROL, &mut bytes)?;
        Ok(Control::parse(&bytes))
    }

    fn read(&self, guest_physical: u64, bytes: &mut [u8]) -> Result<()> {
        self.process
            .read_exact_at(bytes, self.base + guest_physical)
            .with_context(|| format!("cannot read the guest's memory at {guest_physical:#x}"))
    }
}
