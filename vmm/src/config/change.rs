//! Changes of a VM that exists: the bodies of `vm.resize`, `vm.resize-disk` and `vm.remove-device`, and
//! what a configuration becomes by them and by `vm.add-disk` and its like.
//!
//! A change makes a new configuration or is refused; the old one is never left half changed.
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check_devices::{balloon_problem, check_vsock};
use super::check_memory::plugged_problem;
use super::ids::{self, Kind};
use super::validate::invalid;
use super::{ConfigError, DiskConfig, NetConfig, VmConfig, VsockConfig};

/// The body of `vm.resize`: what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResizeConfig {
    /// How many vCPUs, at least 1 and at most what the VM was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_vcpus: Option<u32>,
    /// Bytes of RAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_ram: Option<u64>,
    /// Bytes in the balloon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_balloon: Option<u64>,
}

/// The body of `vm.resize-disk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeDiskConfig {
    /// Which disk.
    pub id: String,
    /// Bytes that it is to have, whole sectors.
    pub desired_size: u64,
}

/// The body of `vm.remove-device`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveDeviceConfig {
    /// Which device.
    pub id: String,
}

/// The sector of a disk (virtio 1.2, section 5.2.4).
const SECTOR: u64 = 512;

/// What `vm.remove-device` does to a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The configuration without it.
    Removed(Box<VmConfig>),
    /// It has that id, but is part of the VM for good.
    Fixed,
    /// Nothing has that id.
    Unknown,
}

impl VmConfig {
    /// With one more disk, and its id. `leaving` are ids that are still taken, though not in this
    /// configuration: the guest has not let go of their devices yet.
    pub fn with_disk(
        &self,
        mut disk: DiskConfig,
        leaving: &BTreeSet<String>,
    ) -> Result<(Self, String), ConfigError> {
        let id = self.new_id(&mut disk.id, Kind::Disk, leaving)?;
        self.check_disk("disk", &disk)?;
        let mut changed = self.clone();
        changed.disks.push(disk);
        changed.check_together()?;
        Ok((changed, id))
    }

    /// The same for a network device.
    pub fn with_net(
        &self,
        mut net: NetConfig,
        leaving: &BTreeSet<String>,
    ) -> Result<(Self, String), ConfigError> {
        let id = self.new_id(&mut net.id, Kind::Net, leaving)?;
        self.check_net("net", &net)?;
        let mut changed = self.clone();
        changed.net.push(net);
        changed.check_together()?;
        Ok((changed, id))
    }

    /// The same for a vsock, of which a VM has one.
    pub fn with_vsock(
        &self,
        mut vsock: VsockConfig,
        leaving: &BTreeSet<String>,
    ) -> Result<(Self, String), ConfigError> {
        if let Some(present) = &self.vsock {
            let id = present.id.as_deref().unwrap_or("vsock");
            let problem = format!("the VM has one, {id}; remove that first");
            return Err(invalid("vsock", &problem));
        }
        let id = self.new_id(&mut vsock.id, Kind::Vsock, leaving)?;
        check_vsock(&vsock).map_err(|problem| invalid("vsock", &problem))?;
        let changed = Self { vsock: Some(vsock), ..self.clone() };
        changed.check_together()?;
        Ok((changed, id))
    }

    fn new_id(
        &self,
        id: &mut Option<String>,
        kind: Kind,
        leaving: &BTreeSet<String>,
    ) -> Result<String, ConfigError> {
        let taken: BTreeSet<String> = self.device_ids().union(leaving).cloned().collect();
        let id = id.get_or_insert_with(|| ids::make(kind, &taken)).clone();
        if self.device_ids().contains(&id) {
            Err(ConfigError::DuplicateId(id))
        } else if leaving.contains(&id) {
            Err(ConfigError::Leaving(id))
        } else {
            Ok(id)
        }
    }

    /// Without the device of that id. Disks, network devices and the vsock can be removed.
    pub fn without_device(&self, id: &str) -> Removal {
        let is_it = |other: &Option<String>| other.as_deref() == Some(id);
        let mut changed = self.clone();
        changed.disks.retain(|disk| !is_it(&disk.id));
        changed.net.retain(|net| !is_it(&net.id));
        changed.vsock.take_if(|vsock| is_it(&vsock.id));
        if changed != *self {
            Removal::Removed(Box::new(changed))
        } else if self.device_ids().contains(id) {
            Removal::Fixed
        } else {
            Removal::Unknown
        }
    }

    /// The disk of that id.
    pub fn disk(&self, id: &str) -> Option<&DiskConfig> {
        self.disks.iter().find(|disk| disk.id.as_deref() == Some(id))
    }

    /// With the vCPUs, the memory and the balloon that `resize` asks for. More vCPUs than the VM can have, and bytes of RAM that it
    /// cannot get, are refused.
    pub fn resized(&self, resize: &ResizeConfig) -> Result<Self, ConfigError> {
        let refuse = |problem: &str| Err(invalid("resize", problem));
        let ResizeConfig { desired_vcpus, desired_ram, desired_balloon } = *resize;
        if *resize == ResizeConfig::default() {
            return refuse(
                "nothing is asked for; give desired_vcpus, desired_ram or desired_balloon",
            );
        }
        let max = self.cpus.max_vcpus;
        match desired_vcpus {
            Some(0) => return refuse("desired_vcpus 0: a VM has at least one vCPU"),
            Some(vcpus) if vcpus > max => {
                return refuse(&format!(
                    "desired_vcpus {vcpus}: the VM can have at most {max} (--cpus max={max})"
                ));
            }
            _ => {}
        }
        let mut changed = self.clone();
        changed.cpus.boot_vcpus = desired_vcpus.unwrap_or(changed.cpus.boot_vcpus);
        if let Some(ram) = desired_ram {
            let plugged = self
                .plugged_for(ram)
                .map_err(|problem| invalid("resize", &format!("desired_ram {ram}: {problem}")))?;
            if let Some(plugged) = plugged {
                changed.memory.request(plugged);
            }
        }
        match (&mut changed.balloon, desired_balloon) {
            (_, None) => {}
            (None, Some(_)) => {
                return refuse("desired_balloon: the VM has no balloon (--balloon size=0)");
            }
            (Some(balloon), Some(size)) => {
                if let Some(problem) = balloon_problem(size, self.memory.boot_size()) {
                    return refuse(&format!("desired_balloon: {problem}"));
                }
                balloon.size = size;
            }
        }
        Ok(changed)
    }

    /// Bytes to be plugged so that there are `ram` in all; none if nothing can be plugged, and nothing needs to.
    fn plugged_for(&self, ram: u64) -> Result<Option<u64>, String> {
        let (booted_with, most) = (self.memory.boot_size(), self.memory.hotplug());
        if most == 0 && ram == booted_with {
            return Ok(None);
        }
        if most == 0 {
            return Err(format!(
                "the VM has {booted_with} bytes, and nothing that could be plugged; \
                 it would have to be created with hotplug_method=virtio-mem,hotplug_size="
            ));
        }
        let plugged = ram.checked_sub(booted_with);
        let plugged = plugged.ok_or_else(|| {
            format!(
                "the VM boots with {booted_with} bytes, which stay; a balloon takes some of them"
            )
        })?;
        plugged_problem(plugged, most).map_or(Ok(Some(plugged)), |problem| {
            Err(format!("{plugged} bytes beside the {booted_with} that it boots with: {problem}"))
        })
    }
}

impl ResizeDiskConfig {
    /// A disk can have this size.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let size = self.desired_size;
        if size == 0 || !size.is_multiple_of(SECTOR) || i64::try_from(size).is_err() {
            let problem = format!(
                "desired_size {size}: a disk has a whole number of sectors of {SECTOR} bytes, at least one"
            );
            return Err(invalid("resize-disk", &problem));
        }
        Ok(())
    }
}
