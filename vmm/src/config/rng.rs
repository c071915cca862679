//! Entropy for the guest (virtio-rng): `--rng src=/dev/urandom`.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options, Printed};
use super::unsupported::Section;

/// The source of entropy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RngConfig {
    /// Where random bytes are read from.
    pub src: PathBuf,
    /// Name of the device in requests; made when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Default for RngConfig {
    fn default() -> Self {
        Self { src: PathBuf::from("/dev/urandom"), id: None }
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--rng",
    allowed: Allowed { keys: &["src", "id"], flags: &[] },
    section: Section::Rng,
};

impl FromStr for RngConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let options = Options::parse(&GRAMMAR, text)?;
        let src = options.path("src")?.unwrap_or_else(|| Self::default().src);
        Ok(Self { src, id: options.text("id")? })
    }
}

impl fmt::Display for RngConfig {
    /// The path is shown as text: one that is not UTF-8 does not parse back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::default();
        printed.text("src", &self.src.to_string_lossy());
        printed.optional_text("id", self.id.as_deref());
        printed.fmt(f)
    }
}
