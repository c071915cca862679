//! What the guest says about itself (`check` in `guest-init.sh`), and what it has to say.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use super::vm::{Line, Vm};

/// How the kernel thinks that it was loaded, from `/proc/sys/kernel/bootloader_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// The boot protocol's 64-bit entry: whatever type the VMM wrote.
    BootProtocol,
    /// PVH: the kernel itself writes 0xb0 (its `arch/x86/platform/pvh/enlighten.c`).
    Pvh,
}

const PVH: &str = "176";

/// Kernel messages of warning level that are no fault of the VMM.
const HARMLESS: [&str; 7] = [
    // A time, and times are not judged: the vCPUs may share fewer, emulated processors.
    "hrtimer: interrupt took",
    // A program was pinned to a CPU that has gone.
    "no longer affine to cpu",
    // The processor's own weakness, or its microcode's age.
    "Speculative Return Stack Overflow: ",
    // A processor whose TSC is not invariant; the last lines explain the first.
    "Unstable clock detected, switching default tracing clock to",
    "If you want to keep using the local clock, then add:",
    "\"trace_clock=local\"",
    "on the kernel command line",
];

/// The lines of one check.
pub struct Report {
    lines: Vec<Line>,
    /// The host's clock when the report was complete.
    wall: SystemTime,
}

impl Report {
    /// Has the guest look at itself.
    pub fn ask(vm: &mut Vm) -> Result<Self> {
        let lines = vm.ask("check", "SP-CHECK-DONE")?;
        Ok(Self { lines, wall: SystemTime::now() })
    }

    /// Only its kernel's log.
    pub fn log(vm: &mut Vm) -> Result<Self> {
        let lines = vm.ask("complaints", "SP-DONE")?;
        Ok(Self { lines, wall: SystemTime::now() })
    }

    /// The value of the line `SP KEY=value`.
    pub fn value(&self, key: &str) -> Result<&str> {
        self.line(key).map(|(value, _)| value)
    }

    /// All of `lscpu`'s lines that start with `KEY:`; there must be one.
    pub fn lscpu(&self, key: &str) -> Result<&str> {
        let mut lines = self.starting("SP lscpu ").filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| name.trim() == key);
        Ok(found.with_context(|| format!("lscpu does not say {key:?}"))?.1.trim())
    }

    /// Checks CPUs, clocks, timers and the log.
    pub fn verify(&self, vm: &Vm, vcpus: u32, loader: Loader) -> Result<()> {
        let all = if vcpus == 1 { "0".to_owned() } else { format!("0-{}", vcpus - 1) };
        self.expect("cpus", &vcpus.to_string())?;
        self.expect("online", &all)?;
        self.expect("present", &all)?;
        self.expect("hypervisor", "KVM")?;
        let through_pvh = self.value("loader")? == PVH;
        ensure!(
            through_pvh == (loader == Loader::Pvh),
            "loader type {}, not {loader:?}",
            self.value("loader")?
        );
        let clock = self.value("clocksource")?;
        ensure!(["kvm-clock", "tsc"].contains(&clock), "the clock source is {clock}");
        let woke: Vec<_> = self.starting("SP woke=").collect();
        let expected: Vec<_> = (0..vcpus).map(|cpu| cpu.to_string()).collect();
        ensure!(woke == expected, "timers woke CPUs {woke:?} of {vcpus}");
        self.verify_clocks(vm.started)?;
        self.verify_log()
    }

    /// The guest's clocks against the host's. A pause may stop them; nothing may make them run ahead.
    fn verify_clocks(&self, started: Instant) -> Result<()> {
        let (before, before_at) = self.seconds("before-sleep")?;
        let (after, after_at) = self.seconds("after-sleep")?;
        let (slept, outside) = (after - before, after_at.duration_since(before_at).as_secs_f64());
        ensure!(slept >= 1.0, "a second's sleep took {slept} s of guest time");
        // Nothing is paused now, so the same time passed outside, but for how long a line takes to come through.
        ensure!(
            slept < 2.0 * outside && outside < 2.0 * slept + 1.0,
            "{slept} s in the guest were {outside} s outside"
        );

        let age = started.elapsed().as_secs_f64();
        ensure!(after <= age, "the guest is up for {after} s, the VMM for {age} s");

        let date = Duration::from_secs(self.value("date")?.parse().context("date is no number")?);
        let now = self.wall.duration_since(UNIX_EPOCH)?;
        // `date` cuts off a fraction. Behind by at most its whole life, ahead never.
        let behind = now.as_secs_f64() - date.as_secs_f64();
        ensure!(
            (0.0..age + 1.0).contains(&behind),
            "the guest's clock is {behind} s behind the host's"
        );
        Ok(())
    }

    /// No warning, no stall in the kernel's log.
    pub fn verify_log(&self) -> Result<()> {
        self.verify_log_but(|_| false)
    }

    /// The same, but for lines about this disk, and as errors, not as what a kernel says that has gone wrong itself.
    pub fn verify_log_but_of(&self, disk: &str) -> Result<()> {
        self.verify_log_but(|line| line.contains(disk) && !line.contains("BUG:"))
    }

    fn verify_log_but(&self, allowed: impl Fn(&str) -> bool) -> Result<()> {
        let bad: Vec<_> = self
            .starting("SP dmesg ")
            .filter(|line| !HARMLESS.iter().any(|known| line.contains(known)) && !allowed(line))
            .collect();
        if bad.is_empty() {
            return Ok(());
        }
        bail!("warnings in the kernel's log:\n{}", bad.join("\n"))
    }

    fn expect(&self, key: &str, wanted: &str) -> Result<()> {
        let value = self.value(key)?;
        ensure!(value == wanted, "{key} is {value:?}, not {wanted:?}");
        Ok(())
    }

    fn seconds(&self, key: &str) -> Result<(f64, Instant)> {
        let (value, at) = self.line(key)?;
        Ok((value.parse().with_context(|| format!("{key} is no number: {value:?}"))?, at))
    }

    fn line(&self, key: &str) -> Result<(&str, Instant)> {
        let prefix = format!("SP {key}=");
        let mut found =
            self.lines.iter().filter_map(|line| Some((line.text.strip_prefix(&prefix)?, line.at)));
        found.next().with_context(|| format!("the guest did not say {key:?}"))
    }

    fn starting<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(move |line| line.text.strip_prefix(prefix))
    }
}
