//! `lscpu` in the guest against `topology=` on the command line.
use anyhow::{Result, ensure};

use super::check::Report;
use super::vm::{Vm, text};
use super::{Bed, autopsy};

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
        "size=256M",
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
        ("Hypervisor vendor", "KVM"),
        ("Virtualization type", "full"),
    ];
    for (key, wanted) in expected {
        let value = report.lscpu(key)?;
        ensure!(value == wanted, "lscpu says {key}: {value}, not {wanted}");
    }
    vm.send("poweroff")?;
    let status = vm.wait()?;
    ensure!(status.success(), "the VMM ended with {status}");
    Ok("8 CPUs as 2 sockets of 2 cores of 2 threads".to_owned())
}
