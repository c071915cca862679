//! The balloon, up and down, and entropy from the host.
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Bed;
use super::disks::sums;
use super::guest;
use super::storm::Storm;
use super::vm::{PATIENCE, Vm};

/// How far the balloon is blown up.
const MIB: u64 = 64;
const ENTROPY_KIB: u64 = 16;

/// See above.
pub fn and_entropy(bed: &Bed) -> Result<String> {
    let devices = ["--balloon", "size=0,free_page_reporting=on", "--rng", "src=/dev/urandom"];
    let mut vm = guest::start(bed, "balloon", &devices)?;
    let storm = Storm::start(&vm)?;

    let lines = vm.run(&format!("entropy {ENTROPY_KIB}"))?;
    ensure!(guest::value(&lines, "rng=")?.starts_with("virtio_rng"), "{lines:?}");
    let sums = sums(&lines);
    ensure!(sums.len() == 2 && sums[0] != sums[1], "the same bytes came twice: {sums:?}");

    let whole = total(&mut vm, "-gt", 0)?;
    for _ in 0..2 {
        vm.command_with("resize", &["--balloon", &format!("{MIB}M")])?;
        total(&mut vm, "-le", whole - (MIB << 10))?;
        let size = vm.info()?["config"]["balloon"]["size"].as_u64();
        ensure!(size == Some(MIB << 20), "vm.info says that the balloon is to have {size:?}");
        vm.command_with("resize", &["--balloon", "0"])?;
        total(&mut vm, "-ge", whole)?;
    }
    // What the balloon gave back is free, and the guest reports free memory after a while.
    let started = Instant::now();
    while vm.counter("__balloon", "reported_pages")? == 0 {
        ensure!(started.elapsed() < PATIENCE, "no free page was reported; {}", vm.report());
    }
    let cycles = storm.end()?;
    let pages = 2 * (MIB << 8);
    for name in ["inflated_pages", "deflated_pages"] {
        let count = vm.counter("__balloon", name)?;
        ensure!(count == pages, "the balloon counts {count} {name}, not {pages}");
    }
    ensure!(vm.counter("__balloon", "host_errors")? == 0, "the balloon counts host_errors");
    guest::finish(vm, &["__balloon", "__rng"])?;
    Ok(format!("{MIB} MiB twice, {cycles} cycles of pause and resume"))
}

/// Waits until the guest's memory has come to so many KiB; how many there are then.
fn total(vm: &mut Vm, relation: &str, kib: u64) -> Result<u64> {
    let lines = vm.run(&format!("memory_total {relation} {kib}"))?;
    let value = guest::value(&lines, "MemTotal:")?;
    let number = value.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("MemTotal is {value}"))
}
