//! A disk that comes and goes while the VM runs.
//!
//! ```text
//! add ── use ── (a second VM is refused the image) ── remove while it is read ── gone ── add under the same id ── the data is there
//!                                                    … ── remove while it is mounted and written ── only its own errors in the log
//! ```
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::Bed;
use super::check::Report;
use super::disks::{fill, mount, sums};
use super::guest;
use super::images::{self, Images};
use super::storm::Storm;
use super::vm::{PATIENCE, Vm, text};

/// How often the disk goes and comes back.
const ROUNDS: u32 = 2;
const IN_USE: &str = "in use by another VM or process";

/// See above.
pub fn come_and_go(bed: &Bed) -> Result<String> {
    let images = Images::new("hotplug")?;
    let image = images.raw("plug", 64)?;
    let other = images.raw("other", 64)?;
    let (disk, other_disk) = (option(text(&image)?), option(text(&other)?));
    let mut vm = guest::start(bed, "hotplug", &["--rng", "src=/dev/urandom"])?;

    let storm = Storm::start(&vm)?;
    vm.command_with("add-disk", &[&disk])?;
    mount(&mut vm, "plug")?;
    let sums_written = fill(&mut vm, "plug")?;
    refused(bed, &disk)?;
    vm.run("umount_disk plug")?;
    for round in 0..ROUNDS {
        remove_while_it_is_read(&mut vm).with_context(|| format!("round {round}"))?;
        add_when_free(&vm, "add-disk", "plug", &disk).with_context(|| format!("round {round}"))?;
        mount(&mut vm, "plug")?;
        vm.run("reread_disk plug")?;
        vm.run("umount_disk plug")?;
    }
    remove_while_it_is_read(&mut vm)?;
    // When the id is free the image is closed.
    add_when_free(&vm, "add-disk", "plug", &other_disk)?;
    Report::log(&mut vm)?.verify_log()?;
    let name = remove_while_it_is_written(&mut vm)?;
    let cycles = storm.end()?;

    let mut second = guest::start(bed, "hotplug-second", &["--disk", &disk])?;
    mount(&mut second, "plug")?;
    let sums_read = sums(&second.run("sums_of_disk plug")?);
    ensure!(sums_read == sums_written, "the second VM reads {sums_read:?}, not {sums_written:?}");
    second.run("umount_disk plug")?;
    guest::finish(second, &["plug"])?;
    guest::finish_without_disk(vm, &name)?;
    images::check_raw(&images, &image, &sums_written)?;
    images::recover(&other)?;
    Ok(format!("{ROUNDS} rounds, {cycles} cycles of pause and resume"))
}

fn option(image: &str) -> String {
    format!("path={image},id=plug")
}

/// A second VM does not get the image, and says why.
fn refused(bed: &Bed, disk: &str) -> Result<()> {
    let kernel = bed.guest.bzimage();
    let mut second =
        Vm::start(bed, "hotplug-refused", &["--kernel", text(&kernel)?, "--disk", disk])?;
    let status = second.wait()?;
    let report = second.report();
    ensure!(!status.success() && report.contains(IN_USE), "{status}: {report}");
    Ok(())
}

fn remove_while_it_is_read(vm: &mut Vm) -> Result<()> {
    let place = vm.place("plug")?;
    vm.run(&format!("read_on plug {place}"))?;
    vm.command_with("remove-device", &["plug"])?;
    vm.run(&format!("gone {place}"))?;
    vm.run("read_ended plug").map(drop)
}

/// With its file system mounted, which then has errors and can still be unmounted; what the guest called the disk.
fn remove_while_it_is_written(vm: &mut Vm) -> Result<String> {
    let place = vm.place("plug")?;
    let lines = mount(vm, "plug")?;
    let name = guest::value(&lines, "disk=")?.to_owned();
    vm.run("write_on plug")?;
    vm.command_with("remove-device", &["plug"])?;
    vm.run(&format!("gone {place}"))?;
    vm.run("read_ended plug")?;
    vm.run("umount_disk plug")?;
    Ok(name)
}

/// Removes a device and waits until the guest has let go of it.
pub fn remove(vm: &mut Vm, id: &str) -> Result<()> {
    let place = vm.place(id)?;
    vm.command_with("remove-device", &[id])?;
    vm.run(&format!("gone {place}")).map(drop)
}

/// Adds a device by `verb` as soon as its id is free again, which is when the last thread of the old one has ended.
pub fn add_when_free(vm: &Vm, verb: &str, id: &str, option: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        match vm.command_with(verb, &[option]) {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > PATIENCE => bail!("{error:#}; {}", vm.report()),
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains(id) && said.contains("is leaving"), "{verb}: {said}");
            }
        }
    }
}
