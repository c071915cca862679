//! `lscpu` in the guest, and its NUMA nodes, against `--cpus topology=`, `--memory-zone` and `--numa`.
use anyhow::{Result, ensure};

use super::check::Report;
use super::guest::value;
use super::vm::{Vm, text};
use super::{Bed, autopsy};

/// What the guest says of its two nodes, a socket each: the first has 160 MiB, the other 96.
const NODES: [(&str, &str); 6] = [
    ("node0 cpus=", "0-3"),
    ("node1 cpus=", "4-7"),
    ("node0 distances=", "10 25"),
    ("node1 distances=", "25 10"),
    ("node0 began with ", "[mem 0x0000000000001000-0x0000000009ffffff]"),
    ("node1 began with ", "[mem 0x000000000a000000-0x000000000fffffff]"),
];

/// Two sockets of two cores of two threads.
pub fn lscpu(bed: &Bed) -> Result<String> {
    let (kernel, initramfs) = (bed.guest.bzimage(), bed.guest.initramfs());
    let cmdline = format!("console=ttyS0 quiet sp.run=commands {}", autopsy::CMDLINE);
    let options = [
        "--kernel",
        text(&kernel)?,
        "--initramfs",
        text(&initramfs)?,
        "--cmdline",
        &cmdline,
        "--cpus",
        "boot=8,topology=2:2:1:2",
        "--memory",
        "size=0",
        "--memory-zone",
        "id=a,size=160M",
        "id=b,size=96M",
        "--numa",
        "guest_numa_id=0,cpus=[0-3],distances=[1@25],memory_zones=[a]",
        "guest_numa_id=1,cpus=[4-7],distances=[0@25],memory_zones=[b]",
        "--serial",
        "tty",
    ];
    let mut vm = Vm::start(bed, "lscpu", &options)?;
    vm.wait_for("SP-READY", 0)?;
    let report = Report::ask(&mut vm)?;
    let expected = [
        ("Architecture", "x86_64"),
        ("CPU(s)", "8"),
        ("On-line CPU(s) list", "0-7"),
        ("Thread(s) per core", "2"),
        ("Core(s) per socket", "2"),
        ("Socket(s)", "2"),
        ("NUMA node(s)", "2"),
        ("NUMA node0 CPU(s)", "0-3"),
        ("NUMA node1 CPU(s)", "4-7"),
        ("Hypervisor vendor", "KVM"),
        ("Virtualization type", "full"),
    ];
    for (key, wanted) in expected {
        let value = report.lscpu(key)?;
        ensure!(value == wanted, "lscpu says {key}: {value}, not {wanted}");
    }
    let nodes = vm.run("nodes")?;
    for (key, wanted) in NODES {
        let found = value(&nodes, key)?;
        ensure!(found == wanted, "the guest says {key}{found}, not {wanted}: {nodes:?}");
    }
    report.verify_log()?;
    vm.send("poweroff")?;
    let status = vm.wait()?;
    ensure!(status.success(), "the VMM ended with {status}");
    Ok("8 CPUs as 2 sockets of 2 cores of 2 threads, in 2 nodes".to_owned())
}
