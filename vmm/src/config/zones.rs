//! Zones of guest RAM: `--memory-zone id=mem0,size=1G,shared=on,hugepages=on,hugepage_size=2M,prefault=on`, and what may be plugged
//! later into one of them: `hotplug_size=8G,hotplugged_size=1G`.
//!
//! ```text
//!   --memory size=0  --memory-zone id=a,size=1G  id=b,size=3G       GPA  0        1 GiB        3 GiB  4 GiB    5 GiB
//!                                                                        |-- a --|----- b -----| hole |-- b --|
//! ```
//!
//! A zone is what a NUMA node has of the memory. Zones follow one another in guest RAM in the order in which they are given; the RAM is one
//! mapping of one kind, so they agree in how the host backs them, and what may be plugged lies in at most one. Without zones there is
//! one, which is called [`DEFAULT_ZONE`].
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::MemoryConfig;
use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options, Printed};
use super::unsupported::Section;
use super::values::{parse_size, print_size};

/// What the memory's only zone is called, if none is given.
pub const DEFAULT_ZONE: &str = "mem0";

/// A part of guest RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryZoneConfig {
    /// What NUMA nodes call it.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// As in [`MemoryConfig::shared`]; the same in every zone.
    #[serde(default)]
    pub shared: bool,
    /// As in [`MemoryConfig::hugepages`]; the same in every zone.
    #[serde(default)]
    pub hugepages: bool,
    /// As in [`MemoryConfig::hugepage_size`]; the same in every zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugepage_size: Option<u64>,
    /// As in [`MemoryConfig::prefault`]; the same in every zone.
    #[serde(default)]
    pub prefault: bool,
    /// Bytes that may be plugged into it while the VM runs; at most one zone has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotplug_size: Option<u64>,
    /// Bytes of these that are to be plugged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotplugged_size: Option<u64>,
}

impl MemoryZoneConfig {
    /// How the host backs it.
    pub(super) fn backing(&self) -> (bool, bool, Option<u64>, bool) {
        (self.shared, self.hugepages, self.hugepage_size, self.prefault)
    }
}

impl MemoryConfig {
    /// Bytes of RAM that the guest boots with: the size, or that of all zones.
    pub fn boot_size(&self) -> u64 {
        let zones = self.zones.iter().map(|zone| zone.size);
        if self.zones.is_empty() { self.size } else { zones.fold(0, u64::saturating_add) }
    }

    /// The same memory without zones: what they come to together. That they can be one is a matter of validation.
    #[must_use]
    pub fn whole(&self) -> Self {
        let Some(first) = self.zones.first() else { return self.clone() };
        let hot = self.hot_zone();
        Self {
            size: self.boot_size(),
            shared: first.shared,
            hugepages: first.hugepages,
            hugepage_size: first.hugepage_size,
            prefault: first.prefault,
            thp: self.thp,
            hotplug_method: self.hotplug_method,
            hotplug_size: hot.and_then(|zone| zone.hotplug_size),
            hotplugged_size: hot.and_then(|zone| zone.hotplugged_size),
            zones: Vec::new(),
        }
    }

    /// Every zone's id and bytes, in the order of the memory.
    pub fn zone_sizes(&self) -> Vec<(&str, u64)> {
        if self.zones.is_empty() {
            return vec![(DEFAULT_ZONE, self.size)];
        }
        self.zones.iter().map(|zone| (zone.id.as_str(), zone.size)).collect()
    }

    /// The id of the zone that what may be plugged belongs to, if anything may.
    pub fn hot_zone_id(&self) -> Option<&str> {
        let only = self.zones.is_empty().then_some(DEFAULT_ZONE);
        only.or_else(|| Some(self.hot_zone()?.id.as_str())).filter(|_| self.hotplug() > 0)
    }

    /// Another number of bytes is to be plugged.
    pub(super) fn request(&mut self, bytes: u64) {
        match self.zones.iter_mut().find(|zone| zone.hotplug_size.is_some()) {
            Some(zone) => zone.hotplugged_size = Some(bytes),
            None => self.hotplugged_size = Some(bytes),
        }
    }

    fn hot_zone(&self) -> Option<&MemoryZoneConfig> {
        self.zones.iter().find(|zone| zone.hotplug_size.is_some())
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--memory-zone",
    allowed: Allowed {
        keys: &[
            "id",
            "size",
            "shared",
            "hugepages",
            "hugepage_size",
            "prefault",
            "hotplug_size",
            "hotplugged_size",
        ],
        flags: &[],
    },
    section: Section::MemoryZone,
};

impl FromStr for MemoryZoneConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        const SIZE: &str = "a size, such as 512M or 2G";
        let options = Options::parse(&GRAMMAR, text)?;
        Ok(Self {
            id: options.required("id", options.text("id")?)?,
            size: options.required("size", options.value("size", SIZE, parse_size)?)?,
            shared: options.toggle("shared", false)?,
            hugepages: options.toggle("hugepages", false)?,
            hugepage_size: options.value("hugepage_size", SIZE, parse_size)?,
            prefault: options.toggle("prefault", false)?,
            hotplug_size: options.value("hotplug_size", SIZE, parse_size)?,
            hotplugged_size: options.value("hotplugged_size", SIZE, parse_size)?,
        })
    }
}

impl fmt::Display for MemoryZoneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::default();
        printed.text("id", &self.id);
        printed.add("size", &print_size(self.size));
        printed.toggle("shared", self.shared, false);
        printed.toggle("hugepages", self.hugepages, false);
        printed.toggle("prefault", self.prefault, false);
        for (key, size) in [
            ("hugepage_size", self.hugepage_size),
            ("hotplug_size", self.hotplug_size),
            ("hotplugged_size", self.hotplugged_size),
        ] {
            if let Some(size) = size {
                printed.add(key, &print_size(size));
            }
        }
        printed.fmt(f)
    }
}
