//! Guest RAM: `--memory size=1G,shared=on,hugepages=on,hugepage_size=2M,prefault=on,thp=off`.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
        }
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--memory",
    allowed: Allowed {
        keys: &["size", "shared", "hugepages", "hugepage_size", "prefault", "thp"],
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
        if let Some(size) = self.hugepage_size {
            write!(f, ",hugepage_size={}", print_size(size))?;
        }
        Ok(())
    }
}
