//! The guest's own power-off and reboot.
use anyhow::{Result, ensure};

use super::disks::{fill, mount, sums};
use super::guest;
use super::images::{self, Images};
use super::storm::Storm;
use super::vm::{Vm, text};
use super::{Bed, autopsy, network};
use crate::tool;

/// `poweroff` in the guest ends the VMM with status 0; the serial port writes to a file here.
pub fn poweroff(bed: &Bed) -> Result<String> {
    let log = bed.logs.join("poweroff.file");
    let serial = format!("file={}", text(&log)?);
    let mut vm = start(bed, "poweroff", "", &serial)?;
    let status = vm.wait()?;
    ensure!(status.success(), "the VMM ended with {status}; {}", vm.report());
    let console = std::fs::read_to_string(&log)?;
    ensure!(console.contains("SP-READY"), "the serial port's file lacks the guest's greeting");
    Ok("status 0".to_owned())
}

/// `reboot` in the guest boots again, and again, in the same VMM, until the VM is stopped: by the ACPI register, by the keyboard
/// controller, by a triple fault.
pub fn reboot(bed: &Bed) -> Result<String> {
    const BOOTS: usize = 2;
    for way in ["acpi", "kbd", "triple"] {
        let mut vm = start(bed, "reboot", &format!("reboot={way}"), "tty")?;
        let mut from = 0;
        for _ in 0..BOOTS {
            // Each boot says it once, before it reboots.
            from = vm.wait_for("SP-READY", from)?;
        }
        let resets = vm.counter("guest", "resets")?;
        ensure!(resets >= 1, "{way}: no reset was counted");
        vm.command("stop")?;
        let status = vm.wait()?;
        ensure!(status.success(), "{way}: after `stillpoint stop` the VMM ended with {status}");
    }
    Ok(format!("{BOOTS} boots each"))
}

/// The power button is a key to Linux, also when it is pressed while the VM is paused.
pub fn button(bed: &Bed) -> Result<String> {
    let mut vm = guest::start(bed, "power-button", &[])?;
    let said = vm.run("listen_for_button")?;
    ensure!(guest::value(&said, "buttons=")? == "1", "the kernel's log has {said:?}");
    let from = vm.serial.len();
    vm.command("pause")?;
    vm.command("power-button")?;
    vm.command("resume")?;
    // KEY_POWER.
    let from = vm.wait_for("SP-BUTTON 1 key 116", from)?;
    let from = from.min(vm.serial.len());
    vm.command("power-button")?;
    vm.wait_for("SP-BUTTON 2 key 116", from)?;
    let status = vm.wait()?;
    ensure!(status.success(), "after the guest's poweroff the VMM ended with {status}");
    Ok("twice".to_owned())
}

/// A kernel that panics says so, and starts over.
pub fn panic(bed: &Bed) -> Result<String> {
    let network = guest::Network::Shared;
    // What it prints at a panic, for those who want to know why, takes minutes.
    let more = "panic=1 panic_print=0";
    let mut vm = guest::start_with(bed, "panic", more, network, &["--pvpanic"])?;
    let from = vm.serial.len();
    vm.send("crash")?;
    vm.wait_for("Kernel panic", from)?;
    vm.wait_for("SP-READY", from)?;
    for (name, wanted) in [("panics", 1), ("resets", 1), ("power_offs", 0)] {
        let count = vm.counter("guest", name)?;
        ensure!(count == wanted, "{count} {name} were counted");
    }
    guest::finish(vm, &[])?;
    Ok("told once".to_owned())
}

/// Host and guest on the tap of [`reboot_keeps_the_devices`].
const HOST: &str = "10.9.0.1";
const GUEST: &str = "10.9.0.2";

/// A guest that reboots finds its devices again, and its data; the host's tap is the same all the while.
pub fn reboot_keeps_the_devices(bed: &Bed) -> Result<String> {
    let images = Images::new("reboot")?;
    let image = images.raw("disk", 64)?;
    let disk = format!("path={},id=disk", text(&image)?);
    let net = format!("tap=tap0,id=net,ip={HOST},mask=255.255.255.0");
    let devices = ["--disk", &disk, "--rng", "src=/dev/urandom", "--net", &net];
    let mut vm = guest::start_with(bed, "reboot-devices", "", guest::Network::Own, &devices)?;
    reaches_the_host(&mut vm)?;
    let tap = link(&vm)?;
    let storm = Storm::start(&vm)?;
    mount(&mut vm, "disk")?;
    let written = fill(&mut vm, "disk")?;
    vm.run("umount_disk disk")?;
    let place = vm.place("disk")?;

    // The storm goes on over the reboot.
    let from = vm.serial.len();
    vm.send("reboot")?;
    vm.wait_for("SP-READY", from)?;
    ensure!(vm.place("disk")? == place, "the disk was at {place}, and is at {}", vm.place("disk")?);
    mount(&mut vm, "disk")?;
    let read = sums(&vm.run("sums_of_disk disk")?);
    ensure!(read == written, "after the reboot the guest reads {read:?}, not {written:?}");
    vm.run("umount_disk disk")?;
    vm.run("entropy 1")?;
    reaches_the_host(&mut vm)?;
    let now = link(&vm)?;
    ensure!(now == tap, "the tap was {tap:?}, and is {now:?}");
    let cycles = storm.end()?;
    guest::finish(vm, &["disk", "__rng", "net"])?;
    images::check_raw(&images, &image, &written)?;
    Ok(format!("{cycles} cycles of pause and resume"))
}

/// The guest has its address, and the host answers.
fn reaches_the_host(vm: &mut Vm) -> Result<()> {
    vm.run(&format!("net_up {GUEST}/24"))?;
    let lines = vm.run(&format!("net_ping {HOST}"))?;
    ensure!(guest::value(&lines, "ping=")? == "3 3", "the guest's pings: {lines:?}");
    Ok(())
}

/// Number, name and state of the VM's tap.
fn link(vm: &Vm) -> Result<String> {
    let shown =
        tool::output(network::beside(vm).args(["ip", "-o", "link", "show", "dev", "tap0"]))?;
    Ok(shown.split("mtu").next().unwrap_or_default().to_owned())
}

fn start(bed: &Bed, what: &str, more: &str, serial: &str) -> Result<Vm> {
    let (kernel, initramfs) = (bed.guest.bzimage(), bed.guest.initramfs());
    let cmdline = format!("console=ttyS0 quiet sp.run={what} {more} {}", autopsy::CMDLINE);
    let options = [
        "--kernel",
        text(&kernel)?,
        "--initramfs",
        text(&initramfs)?,
        "--cmdline",
        &cmdline,
        "--cpus",
        "boot=2",
        "--memory",
        "size=256M",
        "--serial",
        serial,
    ];
    Vm::start(bed, what, &options)
}
