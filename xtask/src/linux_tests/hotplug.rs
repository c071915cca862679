//! A disk that comes and goes while the VM runs.
//!
//! ```text
//! add ── use ── (a second VM is refused the image) ── remove while it is read ── gone ── add under the same id ── the data is there
//! ```
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::Bed;
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
    let (disk, other) = (option(text(&image)?), option(text(&other)?));
    let mut vm = guest::start(bed, "hotplug", &["--rng", "src=/dev/urandom"])?;

    let storm = Storm::start(&vm)?;
    vm.command_with("add-disk", &[&disk])?;
    mount(&mut vm, "plug")?;
    let sums_written = fill(&mut vm, "plug")?;
    refused(bed, &disk)?;
    vm.run("umount_disk plug")?;
    for round in 0..ROUNDS {
        remove_while_it_is_read(&mut vm).with_context(|| format!("round {round}"))?;
        add_when_free(&vm, &disk).with_context(|| format!("round {round}"))?;
        mount(&mut vm, "plug")?;
        vm.run("reread_disk plug")?;
        vm.run("umount_disk plug")?;
    }
    remove_while_it_is_read(&mut vm)?;
    // When the id is free the image is closed.
    add_when_free(&vm, &other)?;
    mount(&mut vm, "plug")?;
    vm.run("umount_disk plug")?;
    let cycles = storm.end()?;

    let mut second = guest::start(bed, "hotplug-second", &["--disk", &disk])?;
    mount(&mut second, "plug")?;
    let sums_read = sums(&second.run("sums_of_disk plug")?);
    ensure!(sums_read == sums_written, "the second VM reads {sums_read:?}, not {sums_written:?}");
    second.run("umount_disk plug")?;
    guest::finish(second, &["plug"])?;
    guest::finish(vm, &["plug"])?;
    images::check_raw(&images, &image, &sums_written)?;
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

/// Adds the disk as soon as the id is free again, which is when the last thread of the old one has ended.
fn add_when_free(vm: &Vm, disk: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        match vm.command_with("add-disk", &[disk]) {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > PATIENCE => bail!("{error:#}; {}", vm.report()),
            Err(error) => {
                let said = format!("{error:#}");
                ensure!(said.contains("plug"), "add-disk: {said}");
            }
        }
    }
}
