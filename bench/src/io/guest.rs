//! A VM with the driver guest, whose vCPUs, usually one, do as they are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stillpoint_guest::driver::{self, Command, OUTCOME_DONE};
use vm_memory::{Bytes, GuestAddress};
use vmm::config::{CpusConfig, MemoryConfig, PayloadConfig, VmConfig};
use vmm::control::{Vmm, VmmControl, VmmOptions, VmmThread};
use vmm::vm::Machine;

use crate::pace;

/// Longer than any command takes.
const LIMIT: Duration = Duration::from_mins(1);
/// Between two looks whether a command is done; the commands that are measured take a thousand times as long.
const LOOK: Duration = Duration::from_micros(200);

/// A command by which time is compared: the looks are less than a hundredth of it.
const LONG_ENOUGH: Duration = Duration::from_millis(200);

/// The VM; ended when dropped.
pub struct Guest {
    vmm: Arc<Vmm>,
    thread: Option<VmmThread>,
    machine: Arc<Machine>,
    sequence: u64,
}

impl Guest {
    /// Boots it with whatever `devices` puts into its configuration.
    pub fn start(devices: impl FnOnce(&mut VmConfig)) -> Result<Self> {
        let kernel = tempfile::NamedTempFile::new().context("cannot make a file")?;
        std::fs::write(kernel.path(), stillpoint_guest::DRIVER_IMAGE)?;
        let mut config = VmConfig {
            cpus: CpusConfig { boot_vcpus: 1, max_vcpus: 1, ..CpusConfig::default() },
            memory: MemoryConfig { size: driver::MEMORY_END, ..MemoryConfig::default() },
            payload: PayloadConfig {
                kernel: Some(kernel.path().to_owned()),
                cmdline: Some("vcpus=1 quiet".to_owned()),
                ..PayloadConfig::default()
            },
            ..VmConfig::default()
        };
        devices(&mut config);
        let (vmm, thread) = Vmm::start(VmmOptions::default()).context("no control thread")?;
        let end = End { vmm: Arc::clone(&vmm), thread: Some(thread) };
        vmm.create(config).context("cannot create the VM")?;
        vmm.boot().context("cannot boot the VM")?;
        let machine = vmm.machine().context("there is no VM")?;
        let thread = end.give_up();
        let mut guest = Self { vmm, thread, machine, sequence: 0 };
        guest.run(Command::Probe, &[])?;
        Ok(guest)
    }

    /// The slot of the device with this id.
    pub fn slot(&self, id: &str) -> Result<u64> {
        let tree = self.vmm.info()?.device_tree;
        let place =
            tree.get(id).and_then(|node| node.pci_bdf).context("the device has no place")?;
        Ok(place.device.into())
    }

    /// Has it carry a command out; gives the time from the command to its end, and its result 1.
    pub fn run(&mut self, command: Command, arguments: &[u64]) -> Result<(Duration, u64)> {
        let begun = self.begin(command, arguments)?;
        self.end(begun, command)
    }

    /// Gives it a command.
    pub fn begin(&mut self, command: Command, arguments: &[u64]) -> Result<Instant> {
        for (index, argument) in (0..).zip(arguments) {
            self.store(driver::ARGUMENTS + 8 * index, *argument)?;
        }
        self.sequence += 1;
        let begun = Instant::now();
        self.store(driver::COMMAND, self.sequence << 32 | command as u64)?;
        Ok(begun)
    }

    /// Waits until it is where `there` says; false if it has come to the command's end.
    pub fn until(
        &self,
        begun: Instant,
        command: Command,
        there: impl Fn(&Self) -> Result<bool>,
    ) -> Result<bool> {
        loop {
            if there(self)? {
                return Ok(true);
            }
            if self.load(driver::DONE)? == self.sequence {
                return Ok(false);
            }
            pace::go_on()?;
            if begun.elapsed() > LIMIT {
                bail!("the guest does not come to the end of {command:?}");
            }
            pace::pause_for(LOOK);
        }
    }

    /// Has one of several vCPUs begin something that goes on until the end of the VM. Its first vCPU is not told anything else then.
    pub fn begin_on(&mut self, vcpu: u32, command: Command, arguments: &[u64]) -> Result<()> {
        let line = driver::LINE_SIZE * u64::from(vcpu);
        for (index, argument) in (0..).zip(arguments) {
            self.store(line + driver::ARGUMENTS + 8 * index, *argument)?;
        }
        self.sequence += 1;
        self.store(line + driver::COMMAND, self.sequence << 32 | command as u64)?;
        let progress = line + driver::PROGRESS;
        let what = format!("vCPU {vcpu} to begin {command:?}");
        pace::until(&what, LOOK, LIMIT, || Ok((self.load(progress)? != 0).then_some(())))
    }

    /// The VMM.
    pub fn vmm(&self) -> &Vmm {
        &self.vmm
    }

    /// Waits for a command's end; gives the time since it began, and its result 1.
    pub fn end(&mut self, begun: Instant, command: Command) -> Result<(Duration, u64)> {
        self.until(begun, command, |_| Ok(false))?;
        let took = begun.elapsed();
        let outcome = self.result(0)?;
        ensure!(outcome == OUTCOME_DONE, "{command:?} came to outcome {outcome}");
        Ok((took, self.result(1)?))
    }

    /// A result of the command before.
    pub fn result(&self, index: u64) -> Result<u64> {
        self.load(driver::RESULTS + 8 * index)
    }

    /// Ticks of its time stamp counter in a second, by a command that takes long enough.
    pub fn ticks_per_second(&mut self) -> Result<f64> {
        let mut rounds = 1000;
        loop {
            let (took, ticks) = self.run(Command::ReadLoop, &[driver::PCI_HOTPLUG + 8, rounds])?;
            if took >= LONG_ENOUGH {
                #[expect(clippy::cast_precision_loss, reason = "far fewer than 53 bits")]
                return Ok(ticks as f64 / took.as_secs_f64());
            }
            rounds *= 4;
        }
    }

    /// A word of its line.
    pub fn load(&self, offset: u64) -> Result<u64> {
        let place = GuestAddress(driver::LINES + offset);
        Ok(self.machine.ram.memory().load(place, Ordering::Acquire)?)
    }

    /// Sets a word of its line.
    pub fn store(&self, offset: u64, value: u64) -> Result<()> {
        let place = GuestAddress(driver::LINES + offset);
        Ok(self.machine.ram.memory().store(value, place, Ordering::Release)?)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(End { vmm: Arc::clone(&self.vmm), thread: self.thread.take() });
    }
}

/// Ends the VMM, on every path.
struct End {
    vmm: Arc<Vmm>,
    thread: Option<VmmThread>,
}

impl End {
    fn give_up(mut self) -> Option<VmmThread> {
        self.thread.take()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Refused only by a VMM that is ending already.
            let _ = self.vmm.vmm_shutdown();
            let _ = thread.wait();
        }
    }
}
