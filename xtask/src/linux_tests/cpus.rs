//! vCPUs that come in Debian's kernel, with a pinned program on each, while the VM is paused and resumed. (That they go again is
//! shown with guests of this project's own; with this kernel it does not work yet, see docs/api.md.)
//!
//! ```text
//! 1 ── 2 ── 4: each time the guest's files, lscpu, its kernel's log and vm.info say the same
//! ```
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::check::Report;
use super::guest::value;
use super::storm::Storm;
use super::vm::{PATIENCE, Vm, text};
use super::{Bed, autopsy};

const BOOT: u32 = 1;
const MAX: u32 = 4;
/// The number of vCPUs after each resize, and how many have come and gone by then.
const STEPS: [(u32, u32, u32); 2] = [(2, 1, 0), (4, 3, 0)];

/// See above.
pub fn come(bed: &Bed) -> Result<String> {
    let (kernel, initramfs) = (bed.guest.bzimage(), bed.guest.initramfs());
    let cmdline = format!("console=ttyS0 quiet sp.run=commands {}", autopsy::CMDLINE);
    let cpus = format!("boot={BOOT},max={MAX}");
    let options = [
        "--kernel",
        text(&kernel)?,
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
    let mut vm = Vm::start(bed, "cpus", &options)?;
    vm.wait_for("SP-READY", 0)?;
    let storm = Storm::start(&vm)?;
    vm.run("cpus_up 0")?;
    agree(&mut vm, BOOT, 0, 0).context("at boot")?;
    vm.run("pin 0")?;
    let mut now = BOOT;
    for (vcpus, came, gone) in STEPS {
        let step = || format!("from {now} to {vcpus}");
        resize(&vm, vcpus).with_context(step)?;
        vm.run(&format!("cpus_up {}", list(vcpus))).with_context(step)?;
        await_info(&vm, vcpus).with_context(step)?;
        for cpu in now..vcpus {
            vm.run(&format!("pin {cpu}")).with_context(step)?;
        }
        vm.run(&format!("pinned_go_on {vcpus}")).with_context(step)?;
        agree(&mut vm, vcpus, came, gone).with_context(step)?;
        now = vcpus;
    }
    let cycles = storm.end()?;
    refused(&vm, "0", "at least one vCPU")?;
    refused(&vm, "5", "at most 4")?;
    agree(&mut vm, now, 3, 0)?;
    Report::log(&mut vm)?.verify_log()?;
    vm.send("poweroff")?;
    let status = vm.wait()?;
    ensure!(status.success(), "the VMM ended with {status}");
    Ok(format!("1, 2, 4 CPUs, {cycles} cycles of pause and resume"))
}

fn list(vcpus: u32) -> String {
    if vcpus == 1 { "0".to_owned() } else { format!("0-{}", vcpus - 1) }
}

/// Asks until the VM runs: one that is paused refuses.
fn resize(vm: &Vm, vcpus: u32) -> Result<()> {
    let started = Instant::now();
    loop {
        match vm.command_with("resize", &["--cpus", &vcpus.to_string()]) {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > PATIENCE => bail!("{error:#}; {}", vm.report()),
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains("it must be Running"), "resize: {said}");
            }
        }
    }
}

fn refused(vm: &Vm, vcpus: &str, why: &str) -> Result<()> {
    match vm.command_with("resize", &["--cpus", vcpus]) {
        Ok(_) => bail!("a resize to {vcpus} was not refused"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains(why), "a resize to {vcpus}: {said}");
            Ok(())
        }
    }
}

/// Waits until `vm.info` has these vCPUs, none of them on its way.
fn await_info(vm: &Vm, vcpus: u32) -> Result<()> {
    let started = Instant::now();
    loop {
        let info = vm.info()?;
        let rows = info["vcpus"].as_array().context("vm.info has no vcpus")?;
        let settled = rows.iter().all(|vcpu| vcpu["hotplug"].is_null());
        if settled && rows.len() == vcpus as usize {
            let wanted = &info["config"]["cpus"]["boot_vcpus"];
            ensure!(*wanted == vcpus, "the configuration says {wanted}");
            return Ok(());
        }
        ensure!(started.elapsed() < PATIENCE, "vm.info says {rows:?}; {}", vm.report());
    }
}

/// The guest's files, `lscpu`, its kernel's log: `came` have been added since the boot, `gone` have left.
fn agree(vm: &mut Vm, vcpus: u32, came: u32, gone: u32) -> Result<()> {
    let said = vm.run("cpus")?;
    let expected = [
        ("cpus=", vcpus.to_string()),
        ("online=", list(vcpus)),
        ("lscpu=", list(vcpus)),
        ("possible=", list(MAX)),
        ("added=", came.to_string()),
        ("offlined=", gone.to_string()),
    ];
    for (key, wanted) in expected {
        let found = value(&said, key)?;
        ensure!(found == wanted, "the guest says {key}{found}, not {wanted}: {said:?}");
    }
    Ok(())
}
