//! A boot to user space under fire, and the guest's own view of it afterwards.
//!
//! ```text
//! start ── pause, resume, pause, … from the first instruction on ── SP-READY ── check ── a storm on the socket while it ticks ── check ── poweroff
//! ```
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::check::{Loader, Report};
use super::http::Api;
use super::vm::{PATIENCE, Vm, text};
use super::{Bed, autopsy, storm};

/// Cycles of pause and resume on the socket while the guest works.
const STORM: u32 = 200;
/// Fewer cycles than this during a boot prove little.
const FEWEST_IN_BOOT: u32 = 50;
/// The longest time that the guest runs between two of them, in microseconds.
const LONGEST_RUN: u64 = 16_000;

/// Debian's bzImage as it is.
pub fn bzimage(bed: &Bed, vcpus: u32) -> Result<String> {
    under_fire(bed, &format!("bzimage-{vcpus}"), &bed.guest.bzimage(), vcpus, Loader::BootProtocol)
}

/// The ELF kernel, through its PVH note.
pub fn pvh(bed: &Bed) -> Result<String> {
    under_fire(bed, "pvh", &bed.guest.vmlinux(), 2, Loader::Pvh)
}

/// The ELF kernel without the note, through its 64-bit entry.
pub fn entry_64_bit(bed: &Bed) -> Result<String> {
    let kernel = bed.vmlinux_without_pvh()?;
    let result = under_fire(bed, "entry-64-bit", &kernel, 2, Loader::BootProtocol);
    std::fs::remove_file(&kernel).with_context(|| format!("cannot remove {}", kernel.display()))?;
    result
}

fn under_fire(bed: &Bed, name: &str, kernel: &Path, vcpus: u32, loader: Loader) -> Result<String> {
    let initramfs = bed.guest.initramfs();
    let cpus = format!("boot={vcpus}");
    let cmdline = format!("console=ttyS0 sp.run=commands {}", autopsy::CMDLINE);
    let options = [
        "--kernel",
        text(kernel)?,
        "--initramfs",
        text(&initramfs)?,
        "--cmdline",
        &cmdline,
        "--cpus",
        &cpus,
        "--memory",
        "size=256M",
        "--serial",
        "tty",
    ];
    // Others before it, when as many cycles are wanted as do not fall into one boot.
    let mut cycles = 0;
    while cycles < cycles_wanted() {
        let mut vm = Vm::start(bed, &format!("{name}-again"), &options)?;
        cycles += pause_and_resume_until_ready(&mut vm)?;
        vm.send("poweroff")?;
        let status = vm.wait()?;
        ensure!(status.success(), "after {cycles} cycles the VMM ended with {status}");
        println!("# {name}: {cycles} cycles of pause and resume during boots");
    }
    let mut vm = Vm::start(bed, name, &options)?;
    cycles += pause_and_resume_until_ready(&mut vm)?;
    let after_boot = Report::ask(&mut vm)?;
    after_boot
        .verify(&vm, vcpus, loader)
        .with_context(|| format!("after {cycles} cycles during boot"))?;

    for _ in 0..storms() {
        storm_while_it_ticks(&mut vm)?;
    }
    let after_storm = Report::ask(&mut vm)?;
    after_storm
        .verify(&vm, vcpus, loader)
        .with_context(|| format!("after {STORM} cycles on the socket"))?;

    vm.send("poweroff")?;
    let status = vm.wait()?;
    ensure!(status.success(), "after the guest's poweroff the VMM ended with {status}");
    Ok(format!("{cycles} cycles of pause and resume during boot, {STORM} afterwards"))
}

/// Pauses and resumes it from its first instruction until it is in user space, with a moment in between; how often.
fn pause_and_resume_until_ready(vm: &mut Vm) -> Result<u32> {
    let mut api = connect(vm)?;
    let (mut cycles, mut random) = (0, 0x9E37_79B9_7F4A_7C15);
    while !vm.has_seen("SP-READY")? {
        match api.put("vm.pause") {
            Ok(()) => {}
            // Until it runs there is nothing to pause; from then on no pause may fail.
            Err(_) if cycles == 0 => continue,
            Err(error) => bail!("pause, cycle {cycles}: {error:#}; {}", vm.report()),
        }
        if let Err(error) = api.put("vm.resume") {
            bail!("resume, cycle {cycles}: {error:#}; {}", vm.report());
        }
        cycles += 1;
        // Back to back it would get nowhere: there is one processor for it, the VMM and this test.
        vm.listen(storm::microseconds(&mut random, LONGEST_RUN));
    }
    ensure!(
        cycles >= FEWEST_IN_BOOT,
        "only {cycles} cycles of pause and resume fell into the boot"
    );
    Ok(cycles)
}

/// A connection as soon as the VMM listens, which is before the guest's first instruction.
fn connect(vm: &mut Vm) -> Result<Api> {
    let started = Instant::now();
    loop {
        match vm.api() {
            Ok(api) => return Ok(api),
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => vm.listen(Duration::from_millis(1)),
        }
    }
}

/// Cycles of pause and resume that are to fall into boots at least: those of one boot, or more for a long run.
fn cycles_wanted() -> u32 {
    let wanted = std::env::var("STILLPOINT_BOOT_CYCLES").ok();
    wanted.and_then(|cycles| cycles.parse().ok()).unwrap_or(0)
}

/// How many storms: one, or as many as `STILLPOINT_STORMS` says, for looking for what is rare.
fn storms() -> u32 {
    std::env::var("STILLPOINT_STORMS").ok().and_then(|storms| storms.parse().ok()).unwrap_or(1)
}

/// Pauses and resumes back to back while the guest counts its timer's ticks: each must come once, in order.
fn storm_while_it_ticks(vm: &mut Vm) -> Result<()> {
    const TICKS: usize = 20;
    let from = vm.serial.len();
    vm.send(&format!("ticks {TICKS}"))?;
    let mut api = vm.api()?;
    for cycle in 0..STORM {
        let result = api.put("vm.pause").and_then(|()| api.put("vm.resume"));
        if let Err(error) = result {
            bail!("cycle {cycle} on the socket: {error:#}; {}", vm.report());
        }
    }
    let to = vm.wait_for("SP-TICKS-DONE", from)?;
    let ticks: Vec<_> =
        vm.serial[from..to].iter().filter_map(|line| line.text.strip_prefix("SP tick=")).collect();
    let expected: Vec<_> = (1..=TICKS).map(|tick| tick.to_string()).collect();
    ensure!(ticks == expected, "ticks were lost or doubled: {ticks:?}");
    Ok(())
}
