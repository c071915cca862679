//! Memory that is plugged and unplugged while the guest keeps data in it.
//!
//! ```text
//! grow ── fill more than the guest booted with ── shrink ── grow ── (the data is there each time) ── free it ── shrink to nothing
//!   ── ask for some ── reboot ── it is plugged again
//! ```
//! What is plugged belongs to the second of two NUMA nodes.
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::Bed;
use super::guest::{self, Network};
use super::storm::Storm;
use super::vm::{PATIENCE, Vm};

/// What the guest boots with, in its two nodes together, and what may be plugged, in MiB.
const BOOTED_WITH: u64 = 192;
const NEAR: u64 = 128;
const HOTPLUG: u64 = 512;
/// Files of 8 MiB each, distinct.
const FILES: u64 = 13;

/// See above.
pub fn grows_and_shrinks(bed: &Bed) -> Result<String> {
    let near = format!("id=near,size={NEAR}M");
    let far = format!("id=far,size={}M,hotplug_size={HOTPLUG}M", BOOTED_WITH - NEAR);
    // What is plugged is used at once, and for what can be moved away again.
    let more = "memhp_default_state=online_movable";
    let devices = [
        "--memory",
        "size=0,hotplug_method=virtio-mem",
        "--memory-zone",
        &near,
        &far,
        "--numa",
        "guest_numa_id=0,cpus=[0-1],memory_zones=[near]",
        "guest_numa_id=1,memory_zones=[far]",
    ];
    let mut vm = guest::start_with(bed, "memory", more, Network::Shared, &devices)?;
    let booted_with = total(&mut vm, "-gt", 0)?;
    let nodes = nodes(&mut vm)?;
    let storm = Storm::start(&vm)?;

    plug(&mut vm, booted_with, 256)?;
    let grown = self::nodes(&mut vm)?;
    ensure!(
        grown == [nodes[0], nodes[1] + (256 << 10)],
        "the nodes had {nodes:?} KiB, and have {grown:?}"
    );
    vm.run(&format!("fill_memory {FILES}"))?;
    ensure!(FILES << 13 > booted_with, "the data fits into the {booted_with} KiB of the start");
    // With little more than the data needs, then with all.
    for mib in [160, 512] {
        plug(&mut vm, booted_with, mib).with_context(|| format!("with data, {mib} MiB"))?;
        vm.run(&format!("check_memory {FILES}")).with_context(|| format!("at {mib} MiB"))?;
    }
    vm.run("free_memory")?;
    plug(&mut vm, booted_with, 0)?;
    plug(&mut vm, booted_with, 128)?;
    guest::verify(&mut vm, &["__memory"])?;

    let from = vm.serial.len();
    vm.send("reboot")?;
    vm.wait_for("SP-READY", from)?;
    // As much is asked for as before, and the guest plugs it by itself.
    agree(&mut vm, booted_with, 128).context("after the reboot")?;
    let cycles = storm.end()?;
    let errors = vm.counter("__memory", "host_errors")?;
    ensure!(errors == 0, "the device counts {errors} host_errors");
    guest::finish(vm, &["__memory"])?;
    Ok(format!("0 to {HOTPLUG} MiB, {cycles} cycles of pause and resume"))
}

/// Asks for so many MiB to be plugged, and waits until guest and host say that they are.
fn plug(vm: &mut Vm, booted_with: u64, mib: u64) -> Result<()> {
    vm.command_with("resize", &["--memory", &format!("{}M", BOOTED_WITH + mib)])?;
    agree(vm, booted_with, mib)
}

fn agree(vm: &mut Vm, booted_with: u64, mib: u64) -> Result<()> {
    let kib = total(vm, "-eq", booted_with + (mib << 10))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let info = vm.info()?;
        let hotplug = &info["memory_hotplug"];
        let [requested, plugged] = ["requested_size", "plugged_size"].map(|key| &hotplug[key]);
        ensure!(*requested == mib << 20, "{requested} bytes are asked for, not {mib} MiB");
        let actual = &info["memory_actual_size"];
        if *plugged == mib << 20 && *actual == (BOOTED_WITH + mib) << 20 {
            return Ok(());
        }
        // The guest counts pages before it plugs the last and after it has unplugged the first.
        if Instant::now() > deadline {
            bail!("the guest has {kib} KiB, vm.info says {hotplug} and {actual} bytes in all");
        }
        std::thread::yield_now();
    }
}

/// KiB of each node.
fn nodes(vm: &mut Vm) -> Result<[u64; 2]> {
    let lines = vm.run("nodes")?;
    let kib = |key| Ok::<_, anyhow::Error>(guest::value(&lines, key)?.parse()?);
    Ok([kib("node0 KiB=")?, kib("node1 KiB=")?])
}

/// Waits until the guest's memory has come to so many KiB; how many there are then.
fn total(vm: &mut Vm, relation: &str, kib: u64) -> Result<u64> {
    let lines = vm.run(&format!("memory_total {relation} {kib}"))?;
    let value = guest::value(&lines, "MemTotal:")?;
    let number = value.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("MemTotal is {value}"))
}
