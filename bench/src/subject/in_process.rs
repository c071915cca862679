//! A VM in this process, at the control interface that the API itself uses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity};
use stillpoint_guest::Options;
use vcpu_state::PauseParts;
use vcpu_state::throttle::{DutyCycle, Throttle};
use vmm::config::{CpuAffinity, CpusConfig, PayloadConfig, VmConfig};
use vmm::control::{Ended, Vmm, VmmControl, VmmOptions, VmmThread};

use crate::cell::Load;
use crate::cycles::Subject;
use crate::guest_memory::GuestMemory;

/// What is special about a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Nothing.
    Nothing,
    /// So many timer interrupts a second on each vCPU.
    Ticking(u32),
    /// Each vCPU has a processor of its own, where there are as many.
    Pinned,
}

/// A VM in this process; ended when dropped.
pub struct InProcess {
    control: Control,
    guest: GuestMemory,
}

/// A VMM that is told to end, and waited for, on every path.
struct Control {
    vmm: Arc<Vmm>,
    thread: Option<VmmThread>,
}

impl InProcess {
    /// Starts it; returns when every vCPU is in its mode.
    pub fn start(load: Load) -> Result<Self> {
        Self::start_special(load, Special::Nothing)
    }

    /// Starts one of which something is special.
    pub fn start_special(load: Load, special: Special) -> Result<Self> {
        let (vmm, thread) =
            Vmm::start(VmmOptions::default()).context("cannot start the control thread")?;
        let control = Control { vmm, thread: Some(thread) };
        control.vmm.create(config(load, special)).context("cannot create the VM")?;
        control.vmm.boot().context("cannot boot the VM")?;
        let guest = GuestMemory::of(std::process::id(), load)?;
        guest.wait_ready()?;
        Ok(Self { control, guest })
    }

    /// Resumes; gives how long it took until no vCPU was held, and how long it took after that to wake
    /// their threads.
    pub fn resume_in_parts(&mut self) -> Result<(Duration, Duration)> {
        let begun = Instant::now();
        let wake = self.control.vmm.resume()?;
        let answered = Instant::now();
        drop(wake);
        Ok((answered - begun, answered.elapsed()))
    }

    /// Throttles all its vCPUs until what it returns is dropped.
    pub fn throttle(&self, duty: DutyCycle) -> Result<Throttle> {
        self.control.vmm.throttle(0..usize::MAX, duty).context("cannot throttle the VM")
    }

    /// Where the time of the pause went that is in force.
    pub fn pause_parts(&self) -> Result<PauseParts> {
        self.control.vmm.pause_parts().context("the VM is not paused")
    }

    /// What the VMM itself says of the last pause and resume: without the way to its control thread
    /// and back. In microseconds.
    pub fn last(&self) -> Result<(Duration, Duration)> {
        let info = self.control.vmm.info().context("no vm.info")?;
        let of = |micros: Option<u64>| micros.map(Duration::from_micros).context("no latency");
        Ok((of(info.last_pause_us)?, of(info.last_resume_us)?))
    }

    /// Ends it in order.
    pub fn end(mut self) -> Result<()> {
        match self.control.end() {
            Some(Ended::Requested) | None => Ok(()),
            Some(other) => bail!("the VMM ended by itself: {other:?}"),
        }
    }
}

impl Control {
    fn end(&mut self) -> Option<Ended> {
        let thread = self.thread.take()?;
        // Refused only by a VMM that is ending already.
        let _ = self.vmm.vmm_shutdown();
        Some(thread.wait())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}

fn config(load: Load, special: Special) -> VmConfig {
    let vcpus = load.vcpus.get();
    let tick_hz = if let Special::Ticking(hz) = special { hz } else { 0 };
    let guest = Options { mode: load.guest.mode(), tick_hz, quiet: true, ..Options::new(vcpus) };
    let affinity = if special == Special::Pinned { one_each(vcpus) } else { Vec::new() };
    VmConfig {
        cpus: CpusConfig { boot_vcpus: vcpus, max_vcpus: vcpus, affinity, ..CpusConfig::default() },
        payload: PayloadConfig { cmdline: Some(guest.to_string()), ..PayloadConfig::default() },
        ..VmConfig::default()
    }
}

/// A processor for each vCPU, of those that this process may use; none where there are fewer.
fn one_each(vcpus: u32) -> Vec<CpuAffinity> {
    let allowed = sched_getaffinity(None).ok();
    let usable = allowed
        .iter()
        .flat_map(|allowed| (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)));
    let each = (0..vcpus).zip(usable);
    let pinned: Vec<_> =
        each.map(|(vcpu, host)| CpuAffinity { vcpu, host_cpus: vec![host] }).collect();
    let enough = u32::try_from(pinned.len()) == Ok(vcpus);
    if enough { pinned } else { Vec::new() }
}

impl Subject for InProcess {
    fn pause(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.control.vmm.pause()?;
        Ok(begun.elapsed())
    }

    fn resume(&mut self) -> Result<Duration> {
        // The wake is left to the caller, so it is part of the cost here. At the socket it is not: the
        // answer goes out before it.
        let (answered, waking) = self.resume_in_parts()?;
        Ok(answered + waking)
    }

    fn heartbeats(&mut self) -> Result<Vec<u64>> {
        self.guest.heartbeats()
    }
}
