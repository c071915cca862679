//! A raw and a qcow2 disk, and one past the host's page cache: what the guest has written is there afterwards, to the guest and to
//! the host.
use anyhow::{Context, Result, ensure};

use super::Bed;
use super::guest;
use super::images::{self, Images};
use super::storm::Storm;
use super::vm::{Vm, text};

const IDS: [&str; 3] = ["raw", "qcow2", "direct"];
/// Files on each disk, and how large they are.
const FILES: u32 = 8;
const KIB: u32 = 512;
/// What fio writes and verifies on each.
const FIO_MIB: u32 = 6;
/// What one of them grows to.
const GROWN_MIB: u64 = 96;

/// Mounted, filled, read again and unmounted while the VM is paused and resumed; the host looks at the images then.
pub fn keep_their_data(bed: &Bed) -> Result<String> {
    let images = Images::new("disks")?;
    let (raw, qcow2) = (images.raw("raw", 64)?, images.qcow2("qcow2", 64)?);
    let raw_option = format!("path={},id=raw", text(&raw)?);
    let qcow2_option = format!("path={},id=qcow2,image_type=qcow2,num_queues=2", text(&qcow2)?);
    let direct = images.direct("direct")?;
    let direct_option = format!("path={},id=direct,direct=on,image_type=raw", text(&direct)?);
    let disks = ["--disk", &raw_option, &qcow2_option, &direct_option];
    let mut vm = guest::start(bed, "disks", &disks)?;

    let storm = Storm::start(&vm)?;
    let mut sums = Vec::new();
    for id in IDS {
        mount(&mut vm, id)?;
        sums.push(fill(&mut vm, id)?);
        let fio = vm.run(&format!("fio_disk {id} {FIO_MIB}"));
        fio.with_context(|| format!("fio's verification on {id}"))?;
    }
    for id in IDS {
        vm.run(&format!("reread_disk {id}"))?;
        vm.run(&format!("trim_disk {id}"))?;
        if id == "raw" {
            grow(&mut vm, id)?;
        }
        vm.run(&format!("reread_disk {id}"))?;
        vm.run(&format!("umount_disk {id}"))?;
    }
    let cycles = storm.end()?;
    for id in IDS {
        let written = vm.counter(id, "write_bytes")?;
        ensure!(written >= u64::from(FILES * KIB) << 10, "{id} counts {written} bytes written");
        for name in ["flush_ops", "discard_ops"] {
            ensure!(vm.counter(id, name)? > 0, "{id} counts no {name}");
        }
        ensure!(vm.counter(id, "errors")? == 0, "{id} counts errors");
    }
    guest::finish(vm, &IDS)?;

    images::check_raw(&images, &raw, &sums[0])?;
    images::check_raw(&images, &images::checked_qcow2(&qcow2)?, &sums[1])?;
    images::check_raw(&images, &direct, &sums[2])?;
    Ok(format!(
        "{FILES} files and {FIO_MIB} MiB of fio on each, {cycles} cycles of pause and resume"
    ))
}

/// The disk becomes larger while it is mounted, and the guest learns of it.
fn grow(vm: &mut Vm, id: &str) -> Result<()> {
    vm.command_with("resize-disk", &[id, &format!("{GROWN_MIB}M")])?;
    let place = vm.place(id)?;
    vm.run(&format!("disk_size {place} {}", GROWN_MIB << 11)).map(drop)
}

/// Mounts the disk `id`; what the guest says of it.
pub fn mount(vm: &mut Vm, id: &str) -> Result<Vec<String>> {
    let place = vm.place(id)?;
    vm.run(&format!("mount_disk {id} {place}"))
}

/// Fills it; the checksums of what it holds then.
pub fn fill(vm: &mut Vm, id: &str) -> Result<Vec<String>> {
    let lines = vm.run(&format!("fill_disk {id} {FILES} {KIB}"))?;
    Ok(sums(&lines))
}

/// The checksums in what a guest said.
pub fn sums(lines: &[String]) -> Vec<String> {
    lines.iter().filter_map(|line| Some(line.strip_prefix("sum ")?.to_owned())).collect()
}
