//! A boot to user space under fire, and the guest's own view of it afterwards.
//!
//! ```text
//! start ── pause, resume, pause, … by command ── SP-READY ── check ── a storm on the socket while it ticks ── check ── poweroff
//! ```
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::check::{Loader, Report};
use super::vm::{Vm, text};
use super::{Bed, autopsy};

/// Cycles of pause and resume on the socket while the guest works.
const STORM: u32 = 200;
/// Fewer cycles than this during a boot prove nothing.
const FEWEST_IN_BOOT: u32 = 3;

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
    let mut vm = Vm::start(bed, name, &options)?;

    let cycles = pause_and_resume_until_ready(&mut vm)?;
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

/// `stillpoint pause` and `stillpoint resume` in turn until the guest is in user space; how often.
fn pause_and_resume_until_ready(vm: &mut Vm) -> Result<u32> {
    let mut cycles = 0;
    while !vm.has_seen("SP-READY")? {
        match vm.command("pause") {
            Ok(_) => {}
            // Until it runs there is nothing to pause; from then on no pause may fail.
            Err(_) if cycles == 0 => continue,
            Err(error) => bail!("pause, cycle {cycles}: {error:#}; {}", vm.report()),
        }
        if let Err(error) = vm.command("resume") {
            bail!("resume, cycle {cycles}: {error:#}; {}", vm.report());
        }
        cycles += 1;
    }
    ensure!(
        cycles >= FEWEST_IN_BOOT,
        "only {cycles} cycles of pause and resume fell into the boot"
    );
    Ok(cycles)
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
