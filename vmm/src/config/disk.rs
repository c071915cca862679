//! Disks (virtio-blk): `--disk path=/images/root.qcow2,readonly=on,num_queues=4`.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RateLimiterConfig;
use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options, Printed};
use super::unsupported::Section;
use super::values::parse_integer;

/// How a disk's content is laid out in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageType {
    /// Byte for byte.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl ImageType {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "raw" => Some(Self::Raw),
            "qcow2" => Some(Self::Qcow2),
            _ => None,
        }
    }
}

impl fmt::Display for ImageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// One disk.
#[expect(clippy::struct_excessive_bools, reason = "the JSON shape is Cloud Hypervisor's")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// The image: a regular file or a block device.
    pub path: PathBuf,
    /// The guest cannot write it; several VMs may then open it.
    #[serde(default)]
    pub readonly: bool,
    /// Go around the host's page cache (`O_DIRECT`).
    #[serde(default)]
    pub direct: bool,
    /// Request queues.
    #[serde(default = "num_queues")]
    pub num_queues: u32,
    /// Entries of each queue, a power of two.
    #[serde(default = "queue_size")]
    pub queue_size: u16,
    /// The image's format; without it, what its first bytes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_type: Option<ImageType>,
    /// What the guest gets as the disk's serial number: at most 20 bytes of ASCII. Without it,
    /// something made from the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Name of the device in requests; made when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether a qcow2 image may refer to backing files.
    #[serde(default)]
    pub backing_files: bool,
    /// Use plain reads and writes even where there is `io_uring`.
    #[serde(default)]
    pub disable_io_uring: bool,
    /// How much may be read and written in what time.
    #[serde(default, skip_serializing_if = "RateLimiterConfig::is_empty")]
    pub rate_limiter_config: RateLimiterConfig,
}

const fn num_queues() -> u32 {
    1
}

const fn queue_size() -> u16 {
    128
}

impl DiskConfig {
    /// A disk in a file, all else as when not given.
    pub fn of_path(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readonly: false,
            direct: false,
            num_queues: num_queues(),
            queue_size: queue_size(),
            image_type: None,
            serial: None,
            id: None,
            backing_files: false,
            disable_io_uring: false,
            rate_limiter_config: RateLimiterConfig::default(),
        }
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--disk",
    allowed: Allowed {
        keys: &[
            "path",
            "readonly",
            "direct",
            "num_queues",
            "queue_size",
            "image_type",
            "serial",
            "id",
            "backing_files",
            "disable_io_uring",
            "bw_size",
            "bw_one_time_burst",
            "bw_refill_time",
            "ops_size",
            "ops_one_time_burst",
            "ops_refill_time",
        ],
        flags: &[],
    },
    section: Section::Disk,
};

impl FromStr for DiskConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let options = Options::parse(&GRAMMAR, text)?;
        let default = Self::of_path(options.required("path", options.path("path")?)?);
        Ok(Self {
            readonly: options.toggle("readonly", default.readonly)?,
            direct: options.toggle("direct", default.direct)?,
            num_queues: options
                .value("num_queues", "a number of queues", parse_integer)?
                .unwrap_or(default.num_queues),
            queue_size: options
                .value("queue_size", "a power of two up to 32768", parse_integer)?
                .unwrap_or(default.queue_size),
            image_type: options.value("image_type", "raw or qcow2", ImageType::parse)?,
            serial: options.text("serial")?,
            id: options.text("id")?,
            backing_files: options.toggle("backing_files", default.backing_files)?,
            disable_io_uring: options.toggle("disable_io_uring", default.disable_io_uring)?,
            rate_limiter_config: RateLimiterConfig::from_options(&options)?,
            path: default.path,
        })
    }
}

impl fmt::Display for DiskConfig {
    /// The path is shown as text: one that is not UTF-8 does not parse back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::of_path("");
        let mut printed = Printed::default();
        printed.text("path", &self.path.to_string_lossy());
        printed.toggle("readonly", self.readonly, default.readonly);
        printed.toggle("direct", self.direct, default.direct);
        printed.number("num_queues", self.num_queues, default.num_queues);
        printed.number("queue_size", self.queue_size, default.queue_size);
        if let Some(image_type) = self.image_type {
            printed.add("image_type", &image_type.to_string());
        }
        printed.optional_text("serial", self.serial.as_deref());
        printed.optional_text("id", self.id.as_deref());
        printed.toggle("backing_files", self.backing_files, default.backing_files);
        printed.toggle("disable_io_uring", self.disable_io_uring, default.disable_io_uring);
        self.rate_limiter_config.print(&mut printed);
        printed.fmt(f)
    }
}
