//! What `vm.info` and the requests about devices tell of them: id, kind, place on the PCI bus.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::{ConsoleMode, MEMORY_DEVICE, VmConfig, WATCHDOG_ID};

/// Where a function sits: segment, bus, device, function; written `0000:00:05.0` (PCI Local Bus 3.0,
/// section 3.2.2.3.2; a segment is one ECAM region of the MCFG table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PciBdf {
    /// Segment.
    pub segment: u16,
    /// Bus in the segment.
    pub bus: u8,
    /// Device on the bus, below 32.
    pub device: u8,
    /// Function of the device, below 8.
    pub function: u8,
}

/// Text that is no place on a PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PCI address; expected one such as 0000:00:05.0")]
pub struct NotABdf;

impl fmt::Display for PciBdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

impl FromStr for PciBdf {
    type Err = NotABdf;

    fn from_str(text: &str) -> Result<Self, NotABdf> {
        let parts = || {
            let (segment, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            let hex = |digits: &str, length| {
                // `from_str_radix` would take a sign, too.
                let is_hex =
                    digits.len() == length && digits.bytes().all(|d| d.is_ascii_hexdigit());
                if is_hex { u16::from_str_radix(digits, 16).ok() } else { None }
            };
            Some(Self {
                segment: hex(segment, 4)?,
                bus: u8::try_from(hex(bus, 2)?).ok()?,
                device: u8::try_from(hex(device, 2)?).ok().filter(|device| *device < 32)?,
                function: u8::try_from(hex(function, 1)?).ok().filter(|function| *function < 8)?,
            })
        };
        parts().ok_or(NotABdf)
    }
}

impl TryFrom<String> for PciBdf {
    type Error = NotABdf;

    fn try_from(text: String) -> Result<Self, NotABdf> {
        text.parse()
    }
}

impl From<PciBdf> for String {
    fn from(bdf: PciBdf) -> Self {
        bdf.to_string()
    }
}

/// A device that was added to a VM that has vCPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciDeviceInfo {
    /// Its id, given or made.
    pub id: String,
    /// Where the guest finds it.
    pub bdf: PciBdf,
}

/// What has become of a new device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// The guest has it.
    Plugged(PciDeviceInfo),
    /// It is part of the configuration; the guest has it from the next boot on.
    Configured,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// virtio-blk.
    Disk,
    /// virtio-net.
    Net,
    /// virtio-rng.
    Rng,
    /// virtio-vsock.
    Vsock,
    /// A watchdog.
    Watchdog,
    /// virtio-balloon.
    Balloon,
    /// virtio-console.
    Console,
    /// virtio-mem.
    Memory,
}

/// One device in `vm.info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Its id, given or made.
    pub id: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// Ids of devices behind it. There are no bridges.
    pub children: Vec<String>,
    /// Where the guest finds it, if there is a guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_bdf: Option<PciBdf>,
}

/// The devices of a VM by their ids.
pub type DeviceTree = BTreeMap<String, DeviceNode>;

/// The tree of a configuration whose devices have ids, with their places on the bus so far as they have
/// one.
#[must_use]
pub fn device_tree(config: &VmConfig, places: &BTreeMap<String, PciBdf>) -> DeviceTree {
    let disks = config.disks.iter().map(|disk| (&disk.id, DeviceKind::Disk));
    let nets = config.net.iter().map(|net| (&net.id, DeviceKind::Net));
    let has_console = config.console.mode != ConsoleMode::Off;
    let memory = Some(MEMORY_DEVICE.to_owned()).filter(|_| config.memory.hotplug() > 0);
    let singles = [
        config.rng.as_ref().map(|rng| (&rng.id, DeviceKind::Rng)),
        config.vsock.as_ref().map(|vsock| (&vsock.id, DeviceKind::Vsock)),
        config.balloon.as_ref().map(|balloon| (&balloon.id, DeviceKind::Balloon)),
        has_console.then_some((&config.console.id, DeviceKind::Console)),
        memory.is_some().then_some((&memory, DeviceKind::Memory)),
    ];
    let watchdog = config.watchdog.then(|| (WATCHDOG_ID.to_owned(), DeviceKind::Watchdog));
    disks
        .chain(nets)
        .chain(singles.into_iter().flatten())
        .filter_map(|(id, kind)| Some((id.clone()?, kind)))
        .chain(watchdog)
        .map(|(id, kind)| {
            let pci_bdf = places.get(&id).copied();
            (id.clone(), DeviceNode { id, kind, children: Vec::new(), pci_bdf })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConsoleConfig, DiskConfig, RngConfig};

    #[test]
    fn places_print_and_parse() {
        let bdf = PciBdf { segment: 0, bus: 0, device: 0x1F, function: 7 };
        assert_eq!(bdf.to_string(), "0000:00:1f.7");
        assert_eq!("0000:00:1f.7".parse(), Ok(bdf));
        for text in ["", "00:1f.7", "0000:00:20.0", "0000:00:1f.8", "0000:00:+1.0", "0000:00:1f.07"]
        {
            assert_eq!(text.parse::<PciBdf>(), Err(NotABdf), "{text}");
        }
    }

    #[test]
    fn the_tree_has_every_device_and_the_places_that_are_known() {
        let mut config = VmConfig {
            disks: vec![DiskConfig::of_path("/a"), DiskConfig::of_path("/b")],
            rng: Some(RngConfig::default()),
            console: ConsoleConfig::of_mode(ConsoleMode::Null),
            watchdog: true,
            ..VmConfig::default()
        };
        config.name_devices();
        let bdf = PciBdf { segment: 0, bus: 0, device: 2, function: 0 };
        let tree = device_tree(&config, &BTreeMap::from([("_disk1".to_owned(), bdf)]));
        let shown: Vec<_> =
            tree.values().map(|node| (node.id.as_str(), node.kind, node.pci_bdf)).collect();
        assert_eq!(
            shown,
            [
                ("__console", DeviceKind::Console, None),
                ("__rng", DeviceKind::Rng, None),
                ("__watchdog", DeviceKind::Watchdog, None),
                ("_disk0", DeviceKind::Disk, None),
                ("_disk1", DeviceKind::Disk, Some(bdf)),
            ]
        );
    }
}
