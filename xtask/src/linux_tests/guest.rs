//! A guest with devices: how it is started, and what has to be true of it in the end.
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::check::Report;
use super::vm::{Vm, text};
use super::{Bed, autopsy};

/// Which network the VMM lives in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// That of the test.
    Shared,
    /// One of its own.
    Own,
}

/// Starts a guest with these devices and waits until it has their drivers and takes commands.
pub fn start(bed: &Bed, name: &str, devices: &[&str]) -> Result<Vm> {
    start_with(bed, name, "", Network::Shared, devices)
}

/// The same with more on the kernel's command line, in this network.
pub fn start_with(
    bed: &Bed,
    name: &str,
    more: &str,
    network: Network,
    devices: &[&str],
) -> Result<Vm> {
    let mut vm = begin(bed, name, more, network, devices)?;
    await_commands(&mut vm)?;
    Ok(vm)
}

/// Waits until the guest has its drivers and takes commands.
pub fn await_commands(vm: &mut Vm) -> Result<()> {
    vm.wait_for("SP-READY", 0)?;
    ensure!(
        !vm.serial.iter().any(|line| line.text.contains("SP cannot load")),
        "a driver could not be loaded; {}",
        vm.report()
    );
    Ok(())
}

/// Starts a guest, and leaves it to its boot.
pub fn begin(bed: &Bed, name: &str, more: &str, network: Network, devices: &[&str]) -> Result<Vm> {
    with_options(bed, more, devices, |options| match network {
        Network::Shared => Vm::start(bed, name, options),
        Network::Own => Vm::start_in_namespace(bed, name, options),
    })
}

/// The same in a VMM that this command starts.
pub fn begin_as(command: Command, bed: &Bed, name: &str, devices: &[&str]) -> Result<Vm> {
    with_options(bed, "", devices, |options| Vm::arrive(command, bed, name, "run", options))
}

fn with_options(
    bed: &Bed,
    more: &str,
    devices: &[&str],
    start: impl FnOnce(&[&str]) -> Result<Vm>,
) -> Result<Vm> {
    let (kernel, initramfs) = (bed.guest.bzimage(), bed.guest.initramfs());
    let cmdline =
        format!("console=ttyS0 quiet sp.run=commands sp.drivers {} {more}", autopsy::CMDLINE);
    let mut options = vec![
        "--kernel",
        text(&kernel)?,
        "--initramfs",
        text(&initramfs)?,
        "--cmdline",
        &cmdline,
        "--cpus",
        "boot=2",
        "--serial",
        "tty",
    ];
    if !devices.contains(&"--memory") {
        options.extend(["--memory", "size=256M"]);
    }
    options.extend(devices);
    start(&options)
}

/// The guest's log is clean, no device has met anything malformed or lost a worker, and the guest powers off.
pub fn finish(mut vm: Vm, devices: &[&str]) -> Result<()> {
    verify(&mut vm, devices)?;
    vm.send("poweroff")?;
    let status = vm.wait()?;
    ensure!(status.success(), "after the guest's poweroff the VMM ended with {status}");
    Ok(())
}

/// The same of a guest whose disk of this name was taken away while it was mounted: its log has errors of that.
pub fn finish_without_disk(mut vm: Vm, disk: &str) -> Result<()> {
    Report::log(&mut vm)?.verify_log_but_of(disk)?;
    vm.send("poweroff")?;
    let status = vm.wait()?;
    ensure!(status.success(), "after the guest's poweroff the VMM ended with {status}");
    Ok(())
}

/// All but the power-off.
pub fn verify(vm: &mut Vm, devices: &[&str]) -> Result<()> {
    Report::log(vm)?.verify_log()?;
    let state = vm.info()?["state"].clone();
    ensure!(state == "Running", "the VM is {state}");
    for id in devices {
        for (name, wanted) in [("malformed", 0), ("failures", 0), ("worker_deaths", 0)] {
            let count = vm.counter(id, name)?;
            ensure!(count == wanted, "{id} counts {count} {name}");
        }
        let activations = vm.counter(id, "activations")?;
        ensure!(activations > 0, "{id} was never activated");
    }
    Ok(())
}

/// The rest of the only line that starts with `key`.
pub fn value<'a>(lines: &'a [String], key: &str) -> Result<&'a str> {
    let mut found = lines.iter().filter_map(|line| line.strip_prefix(key));
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value.trim()),
        (None, _) => Err(anyhow::anyhow!("none starts with {key:?}")),
        (Some(_), Some(_)) => bail!("several start with {key:?}"),
    }
    .with_context(|| format!("the guest's lines {lines:?}"))
}
