//! vCPUs that come and go in Debian's kernel, with a pinned program on each, while the VM is paused and resumed.
//!
//! ```text
//! 1 ── 4 ── 2 ── 4 ── 6: each time the guest's files, lscpu, its kernel's log and vm.info say the same
//! ```
//! The sixth vCPU is the first of another socket, in another NUMA node. (Sockets have five cores because the nested host's processor is
//! one whose caches Linux takes for shared by eight APIC ids in a row; it complains of nodes in between.)
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::check::Report;
use super::guest::value;
use super::storm::Storm;
use super::vm::{PATIENCE, Vm, text};
use super::{Bed, autopsy};

const BOOT: u32 = 1;
const MAX: u32 = 10;
/// vCPUs of a socket and a node, and how far the APIC ids of two sockets are apart.
const OF_SOCKET: u32 = 5;
const ID_STEP: u32 = 8;
/// The number of vCPUs after each resize, and how many have come and gone by then.
const STEPS: [(u32, u32, u32); 4] = [(4, 3, 0), (2, 3, 2), (4, 5, 2), (6, 7, 2)];
/// What the guest says of its nodes: the first has 160 MiB, the other 96.
const NODES: [(&str, &str); 4] = [
    ("node0 distances=", "10 25"),
    ("node1 distances=", "25 10"),
    ("node0 began with ", "[mem 0x0000000000001000-0x0000000009ffffff]"),
    ("node1 began with ", "[mem 0x000000000a000000-0x000000000fffffff]"),
];

/// See above.
pub fn come_and_go(bed: &Bed) -> Result<String> {
    let (kernel, initramfs) = (bed.guest.bzimage(), bed.guest.initramfs());
    let cmdline = format!("console=ttyS0 quiet sp.run=commands {}", autopsy::CMDLINE);
    let cpus = format!("boot={BOOT},max={MAX},topology=1:{OF_SOCKET}:1:2");
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
        "size=0",
        "--memory-zone",
        "id=near,size=160M",
        "id=far,size=96M",
        "--numa",
        "guest_numa_id=0,cpus=[0-4],distances=[1@25],memory_zones=[near]",
        "guest_numa_id=1,cpus=[5-9],distances=[0@25],memory_zones=[far]",
        "--serial",
        "tty",
    ];
    let mut vm = Vm::start(bed, "cpus", &options)?;
    vm.wait_for("SP-READY", 0)?;
    let storm = Storm::start(&vm)?;
    vm.run(&format!("cpus_up {BOOT}"))?;
    agree(&mut vm, BOOT, 0, 0).context("at boot")?;
    vm.run("pin")?;
    let mut now = BOOT;
    for (vcpus, came, gone) in STEPS {
        let step = || format!("from {now} to {vcpus}");
        resize(&vm, vcpus).with_context(step)?;
        vm.run(&format!("cpus_up {vcpus}")).with_context(step)?;
        await_info(&vm, vcpus).with_context(step)?;
        vm.run("pin").with_context(step)?;
        vm.run("pinned_go_on").with_context(step)?;
        agree(&mut vm, vcpus, came, gone).with_context(step)?;
        now = vcpus;
    }
    let cycles = storm.end()?;
    refused(&vm, "0", "at least one vCPU")?;
    refused(&vm, "11", "at most 10")?;
    agree(&mut vm, now, 7, 2)?;
    let nodes = vm.run("nodes")?;
    for (key, wanted) in NODES {
        let found = value(&nodes, key)?;
        ensure!(found == wanted, "the guest says {key}{found}, not {wanted}: {nodes:?}");
    }
    Report::log(&mut vm)?.verify_log()?;
    vm.send("poweroff")?;
    let status = vm.wait()?;
    ensure!(status.success(), "the VMM ended with {status}");
    Ok(format!("1, 4, 2, 4, 6 CPUs in 2 nodes, {cycles} cycles of pause and resume"))
}

/// The numbers in a list of the kernel's, as in `0,2-3`.
fn numbers(list: &str) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>()?, last.parse::<u32>()?);
        ensure!(first <= last && last < 4096, "{range} is no range of CPUs");
        numbers.extend(first..=last);
    }
    Ok(numbers)
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
    // Which of its numbers the kernel gives to a CPU is its own affair.
    let online = value(&said, "online=")?;
    ensure!(numbers(online)?.len() == vcpus as usize, "not {vcpus} CPUs: {said:?}");
    // Of a few CPUs among many, `lscpu` writes a list where the kernel writes a range.
    let listed = value(&said, "lscpu=")?;
    ensure!(numbers(listed)? == numbers(online)?, "lscpu says {listed}, not {online}");
    let expected = [
        ("cpus=", vcpus.to_string()),
        ("possible=", format!("0-{}", MAX - 1)),
        ("added=", came.to_string()),
        ("offlined=", gone.to_string()),
    ];
    for (key, wanted) in expected {
        let found = value(&said, key)?;
        ensure!(found == wanted, "the guest says {key}{found}, not {wanted}: {said:?}");
    }
    let said = vm.run("cpu_nodes")?;
    let place = |vcpu| {
        let (node, core) = (vcpu / OF_SOCKET, vcpu % OF_SOCKET);
        format!("apic {} node {node}", node * ID_STEP + core)
    };
    let expected = (0..vcpus).map(place);
    let (mut found, mut expected) = (said.clone(), expected.collect::<Vec<_>>());
    found.sort();
    expected.sort();
    ensure!(found == expected, "the guest says {found:?}, not {expected:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(numbers("0").unwrap(), [0]);
        assert_eq!(numbers("0,2").unwrap(), [0, 2]);
        assert_eq!(numbers("0-1,3").unwrap(), numbers("0,1,3").unwrap());
        assert!(numbers("3-1").is_err() && numbers("").is_err() && numbers("0-99999").is_err());
    }
}
