//! The guest's NUMA nodes: `--numa guest_numa_id=0,cpus=[0-3,8],distances=[1@20],memory_zones=[mem0],pci_segments=[0]`.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options, Printed};
use super::unsupported::Section;
use super::validate::MAX_VCPUS;
use super::values::{parse_integer, quote, split_list, unquote};

/// A node: processors and memory that are near each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumaConfig {
    /// Its number: the proximity domain of the ACPI tables.
    pub guest_numa_id: u32,
    /// Its vCPUs, those that may come later among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u32>,
    /// How far the other nodes are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distances: Vec<NumaDistance>,
    /// Ids of the zones that are its memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_zones: Vec<String>,
    /// PCI segments that are near it. There is one, 0; without it here, that is the node's with the lowest number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pci_segments: Vec<u16>,
}

/// How far one node is from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaDistance {
    /// The other node.
    pub destination: u32,
    /// In tenths of the distance of a node to itself (ACPI 6.5, 5.2.17): 20 is twice as far, 255 out of reach.
    pub distance: u8,
}

impl fmt::Display for NumaDistance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.destination, self.distance)
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--numa",
    allowed: Allowed {
        keys: &["guest_numa_id", "cpus", "distances", "memory_zones", "pci_segments"],
        flags: &[],
    },
    section: Section::Numa,
};

impl FromStr for NumaConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let options = Options::parse(&GRAMMAR, text)?;
        let id = options.value("guest_numa_id", "a node's number", parse_integer)?;
        Ok(Self {
            guest_numa_id: options.required("guest_numa_id", id)?,
            cpus: options
                .structured(
                    "cpus",
                    "a list of vCPUs, such as [0-3,8], vCPUs up to 1023",
                    parse_cpus,
                )?
                .unwrap_or_default(),
            distances: options
                .structured(
                    "distances",
                    "a list of node@distance, such as [1@20,2@30], distances up to 255",
                    parse_distances,
                )?
                .unwrap_or_default(),
            memory_zones: options
                .structured("memory_zones", "a list of zones' ids, such as [mem0,mem1]", |text| {
                    Some(elements(text)?.into_iter().map(unquote).collect())
                })?
                .unwrap_or_default(),
            pci_segments: options
                .structured("pci_segments", "a list of PCI segments, such as [0]", |text| {
                    elements(text)?.into_iter().map(parse_integer).collect()
                })?
                .unwrap_or_default(),
        })
    }
}

/// The elements of `[a,b]`; a single one needs no brackets.
fn elements(text: &str) -> Option<Vec<&str>> {
    if text.starts_with('[') { split_list(text) } else { (!text.is_empty()).then(|| vec![text]) }
}

fn parse_cpus(text: &str) -> Option<Vec<u32>> {
    let mut expanded = Vec::new();
    for element in elements(text)? {
        let (first, last) = element.split_once('-').unwrap_or((element, element));
        let (first, last) = (parse_integer::<u32>(first)?, parse_integer::<u32>(last)?);
        // Checked before it is expanded: a range is a cheap way to ask for much memory.
        if first > last || last >= MAX_VCPUS || expanded.len() > MAX_VCPUS as usize {
            return None;
        }
        expanded.extend(first..=last);
    }
    Some(expanded)
}

fn parse_distances(text: &str) -> Option<Vec<NumaDistance>> {
    let parse = |element: &str| {
        let (destination, distance) = element.split_once('@')?;
        Some(NumaDistance {
            destination: parse_integer(destination)?,
            distance: parse_integer(distance)?,
        })
    };
    elements(text)?.into_iter().map(parse).collect()
}

impl fmt::Display for NumaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::default();
        printed.add("guest_numa_id", &self.guest_numa_id.to_string());
        let cpus = self.cpus.iter().map(u32::to_string).collect();
        let distances = self.distances.iter().map(NumaDistance::to_string).collect();
        let zones = self.memory_zones.iter().map(|zone| quote(zone)).collect();
        let segments = self.pci_segments.iter().map(u16::to_string).collect();
        for (key, list) in [
            ("cpus", cpus),
            ("distances", distances),
            ("memory_zones", zones),
            ("pci_segments", segments),
        ] {
            let list: Vec<String> = list;
            if !list.is_empty() {
                printed.add(key, &format!("[{}]", list.join(",")));
            }
        }
        printed.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numa(text: &str) -> NumaConfig {
        text.parse().expect(text)
    }

    #[test]
    fn ranges_lists_and_single_ones() {
        let node =
            numa("guest_numa_id=1,cpus=[0-2,7],distances=[0@15,2@25],memory_zones=[a,\"b,c\"]");
        assert_eq!(node.guest_numa_id, 1);
        assert_eq!(node.cpus, [0, 1, 2, 7]);
        let [one, other] = node.distances[..] else { panic!("{node:?}") };
        assert_eq!((one.destination, one.distance), (0, 15));
        assert_eq!((other.destination, other.distance), (2, 25));
        assert_eq!(node.memory_zones, ["a", "b,c"]);

        let single = numa("guest_numa_id=0,cpus=0-1,distances=1@20,memory_zones=mem0");
        assert_eq!((single.cpus, single.memory_zones), (vec![0, 1], vec!["mem0".to_owned()]));
    }

    #[test]
    fn what_is_no_node() {
        for (text, part) in [
            ("cpus=[0]", "guest_numa_id= is missing"),
            ("guest_numa_id=x", "expected a node's number"),
            ("guest_numa_id=0,cpus=[3-1]", "expected a list of vCPUs"),
            ("guest_numa_id=0,cpus=[0-1024]", "vCPUs up to 1023"),
            ("guest_numa_id=0,cpus=", "expected a list of vCPUs"),
            ("guest_numa_id=0,cpus=0:1", "expected a list of vCPUs"),
            ("guest_numa_id=0,distances=[1@256]", "distances up to 255"),
            ("guest_numa_id=0,distances=[1]", "expected a list of node@distance"),
            ("guest_numa_id=0,pci_segments=[x]", "expected a list of PCI segments"),
            ("guest_numa_id=0,device_id=gpu", "device_id=\"gpu\" asks for something"),
            ("guest_numa_id=0,memory=[a]", "unknown key \"memory\""),
        ] {
            let error = text.parse::<NumaConfig>().expect_err(text).to_string();
            assert!(error.starts_with("--numa: ") && error.contains(part), "{text}: {error}");
        }
    }
}
