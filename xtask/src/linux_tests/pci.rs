//! What the guest finds on the bus, where it trusts the windows of the bridge's `_CRS` and where it does not.
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::Bed;
use super::disks::{fill, mount};
use super::guest::{self, Network};
use super::images::Images;
use super::vm::{Vm, text};

/// See above.
pub fn enumerates(bed: &Bed) -> Result<String> {
    let images = Images::new("pci")?;
    let disk = format!("path={},id=disk", text(&images.raw("disk", 64)?)?);
    let devices = ["--disk", &disk, "--rng", "src=/dev/urandom", "--balloon", "size=0"];
    let mut found = 0;
    for (name, more) in [("pci-crs", ""), ("pci-nocrs", "pci=nocrs")] {
        let mut vm = guest::start_with(bed, name, more, Network::Shared, &devices)?;
        found = verify(&mut vm).with_context(|| format!("with {more:?}"))?;
        mount(&mut vm, "disk")?;
        fill(&mut vm, "disk")?;
        vm.run("reread_disk disk")?;
        vm.run("umount_disk disk")?;
        guest::finish(vm, &["disk", "__rng", "__balloon"])?;
    }
    Ok(format!("{found} functions"))
}

/// Each device is where `vm.info` says, with its driver, and nothing else is there but the bridge.
fn verify(vm: &mut Vm) -> Result<usize> {
    let lines = vm.run("pci")?;
    let (functions, virtio) = (last_words(&lines, "pci "), last_words(&lines, "virtio "));
    let info = vm.info()?;
    let tree = info["device_tree"].as_object().context("vm.info has no device_tree")?;
    let places: Vec<_> = tree.values().filter_map(|node| node["pci_bdf"].as_str()).collect();
    ensure!(places.len() == tree.len(), "devices without a place: {tree:?}");
    for place in &places {
        ensure!(functions.get(place) == Some(&"virtio-pci"), "{place}: {lines:?}");
        let driver = virtio.get(place).copied().unwrap_or("none");
        ensure!(driver != "none", "{place} has no virtio driver: {lines:?}");
    }
    ensure!(functions.len() == places.len() + 1, "functions besides: {lines:?}");
    let vectors: usize = guest::value(&lines, "vectors=")?.parse()?;
    ensure!(vectors >= places.len(), "{vectors} MSI-X vectors: {lines:?}");
    Ok(functions.len())
}

/// The lines `KEY PLACE … WORD`: the last word by the place.
fn last_words<'a>(lines: &'a [String], key: &str) -> BTreeMap<&'a str, &'a str> {
    let lines = lines.iter().filter_map(|line| line.strip_prefix(key));
    lines.filter_map(|line| Some((line.split_once(' ')?.0, line.rsplit_once(' ')?.1))).collect()
}
