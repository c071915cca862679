//! Guest RAM: `--memory size=1G,shared=on,hugepages=on,hugepage_size=2M,prefault=on,thp=off`, and what may be plugged
//! later: `hotplug_method=virtio-mem,hotplug_size=8G,hotplugged_size=1G`.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::MemoryZoneConfig;
use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options};
use super::unsupported::Section;
use super::values::{parse_size, print_size, print_toggle};

/// Guest RAM; always a memfd mapping.
#[expect(clippy::struct_excessive_bools, reason = "the JSON shape is Cloud Hypervisor's")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryConfig {
    /// Bytes.
    pub size: u64,
    /// Map it shared, so that another process can map the same memfd.
    pub shared: bool,
    /// Back it with huge pages.
    pub hugepages: bool,
    /// Size of a huge page in bytes; without it, the host's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugepage_size: Option<u64>,
    /// Fault every page in before the VM boots.
    pub prefault: bool,
    /// Ask for transparent huge pages.
    pub thp: bool,
    /// How memory is plugged.
    #[serde(skip_serializing_if = "HotplugMethod::is_default")]
    pub hotplug_method: HotplugMethod,
    /// Bytes that may be plugged while the VM runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hotplug_size: Option<u64>,
    /// Bytes of these that are to be plugged: when the VM boots, and now. `vm.resize` changes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hotplugged_size: Option<u64>,
    /// Its parts, if it has several. Then what is said of all of it above is 0, false or nothing, but for `thp` and `hotplug_method`.
    /// In option strings they are an option of their own (`--memory-zone`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<MemoryZoneConfig>,
}

/// How memory is plugged while the VM runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HotplugMethod {
    /// Modules that ACPI tells of: Cloud Hypervisor's default, which does not exist here.
    #[default]
    Acpi,
    /// virtio-mem.
    VirtioMem,
}

impl HotplugMethod {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "acpi" => Some(Self::Acpi),
            "virtio-mem" => Some(Self::VirtioMem),
            _ => None,
        }
    }
}

impl MemoryConfig {
    /// Bytes that may be plugged while the VM runs; 0 if none may.
    pub fn hotplug(&self) -> u64 {
        match self.hotplug_method {
            HotplugMethod::VirtioMem => {
                let zones = self.zones.iter().filter_map(|zone| zone.hotplug_size);
                zones.chain(self.hotplug_size).fold(0, u64::saturating_add)
            }
            HotplugMethod::Acpi => 0,
        }
    }

    /// Bytes of these that are to be plugged.
    pub fn requested(&self) -> u64 {
        let zones = self.zones.iter().filter_map(|zone| zone.hotplugged_size);
        zones.chain(self.hotplugged_size).fold(0, u64::saturating_add)
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            size: 512 << 20,
            shared: false,
            hugepages: false,
            hugepage_size: None,
            prefault: false,
            thp: true,
            hotplug_method: HotplugMethod::default(),
            hotplug_size: None,
            hotplugged_size: None,
            zones: Vec::new(),
        }
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--memory",
    allowed: Allowed {
        keys: &[
            "size",
            "shared",
            "hugepages",
            "hugepage_size",
            "prefault",
            "thp",
            "hotplug_method",
            "hotplug_size",
            "hotplugged_size",
        ],
        flags: &[],
    },
    section: Section::Memory,
};

impl FromStr for MemoryConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        const SIZE: &str = "a size, such as 512M or 2G";
        let options = Options::parse(&GRAMMAR, text)?;
        let default = Self::default();
        Ok(Self {
            size: options.value("size", SIZE, parse_size)?.unwrap_or(default.size),
            shared: options.toggle("shared", default.shared)?,
            hugepages: options.toggle("hugepages", default.hugepages)?,
            hugepage_size: options.value("hugepage_size", SIZE, parse_size)?,
            prefault: options.toggle("prefault", default.prefault)?,
            thp: options.toggle("thp", default.thp)?,
            hotplug_method: options
                .value("hotplug_method", "virtio-mem or acpi", HotplugMethod::parse)?
                .unwrap_or_default(),
            hotplug_size: options.value("hotplug_size", SIZE, parse_size)?,
            hotplugged_size: options.value("hotplugged_size", SIZE, parse_size)?,
            zones: Vec::new(),
        })
    }
}

impl fmt::Display for MemoryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "size={}", print_size(self.size))?;
        let default = Self::default();
        for (key, on, usual) in [
            ("shared", self.shared, default.shared),
            ("hugepages", self.hugepages, default.hugepages),
            ("prefault", self.prefault, default.prefault),
            ("thp", self.thp, default.thp),
        ] {
            if on != usual {
                write!(f, ",{key}={}", print_toggle(on))?;
            }
        }
        if self.hotplug_method == HotplugMethod::VirtioMem {
            f.write_str(",hotplug_method=virtio-mem")?;
        }
        for (key, size) in [
            ("hugepage_size", self.hugepage_size),
            ("hotplug_size", self.hotplug_size),
            ("hotplugged_size", self.hotplugged_size),
        ] {
            if let Some(size) = size {
                write!(f, ",{key}={}", print_size(size))?;
            }
        }
        Ok(())
    }
}
