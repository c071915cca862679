//! Memory that the guest gives back (virtio-balloon): `--balloon size=256M,deflate_on_oom=on`.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options, Printed};
use super::unsupported::Section;
use super::values::{parse_size, print_size};

/// The balloon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonConfig {
    /// Bytes that the guest is to give back; whole pages of 4 KiB. `vm.resize` changes it.
    pub size: u64,
    /// Whether the guest may take pages back when it runs out of memory.
    #[serde(default)]
    pub deflate_on_oom: bool,
    /// Whether the guest says which pages it does not use, so that the host gets them.
    #[serde(default)]
    pub free_page_reporting: bool,
    /// Name of the device in requests; made when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

const GRAMMAR: Grammar = Grammar {
    option: "--balloon",
    allowed: Allowed { keys: &["size", "deflate_on_oom", "free_page_reporting", "id"], flags: &[] },
    section: Section::Balloon,
};

impl FromStr for BalloonConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let options = Options::parse(&GRAMMAR, text)?;
        let size = options.value("size", "a size, such as 256M, or 0", parse_size)?;
        Ok(Self {
            size: options.required("size", size)?,
            deflate_on_oom: options.toggle("deflate_on_oom", false)?,
            free_page_reporting: options.toggle("free_page_reporting", false)?,
            id: options.text("id")?,
        })
    }
}

impl fmt::Display for BalloonConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::default();
        printed.add("size", &print_size(self.size));
        printed.toggle("deflate_on_oom", self.deflate_on_oom, false);
        printed.toggle("free_page_reporting", self.free_page_reporting, false);
        printed.optional_text("id", self.id.as_deref());
        printed.fmt(f)
    }
}
