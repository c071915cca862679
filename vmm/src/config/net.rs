//! Network devices (virtio-net on a tap): `--net tap=tap0,mac=52:54:00:12:34:56,num_queues=4`.
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options, Printed};
use super::unsupported::Section;
use super::values::{parse_integer, split_list};
use super::{MacAddr, RateLimiterConfig};

/// One network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetConfig {
    /// The host's tap interface, made if it does not exist; without it, a new one with a name of the
    /// kernel's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// The address that the host's interface gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The network mask that goes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<IpAddr>,
    /// The guest's Ethernet address; made when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// The Ethernet address that the host's interface gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_mac: Option<MacAddr>,
    /// Largest packet in bytes, for the host's interface and as advice for the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Queues, half of them for each direction.
    pub num_queues: u32,
    /// Entries of each queue, a power of two.
    pub queue_size: u16,
    /// Name of the device in requests; made when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Open taps, one for each pair of queues: descriptors of this process, so only its command line
    /// can name them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fds: Vec<i32>,
    /// Let the host segment TCP.
    pub offload_tso: bool,
    /// Let the host fragment UDP.
    pub offload_ufo: bool,
    /// Let the host compute checksums.
    pub offload_csum: bool,
    /// How much may be sent and received in what time.
    #[serde(skip_serializing_if = "RateLimiterConfig::is_empty")]
    pub rate_limiter_config: RateLimiterConfig,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            tap: None,
            ip: None,
            mask: None,
            mac: None,
            host_mac: None,
            mtu: None,
            num_queues: 2,
            queue_size: 256,
            id: None,
            fds: Vec::new(),
            offload_tso: true,
            offload_ufo: true,
            offload_csum: true,
            rate_limiter_config: RateLimiterConfig::default(),
        }
    }
}

const GRAMMAR: Grammar = Grammar {
    option: "--net",
    allowed: Allowed {
        keys: &[
            "tap",
            "ip",
            "mask",
            "mac",
            "host_mac",
            "mtu",
            "num_queues",
            "queue_size",
            "id",
            "fd",
            "offload_tso",
            "offload_ufo",
            "offload_csum",
            "bw_size",
            "bw_one_time_burst",
            "bw_refill_time",
            "ops_size",
            "ops_one_time_burst",
            "ops_refill_time",
        ],
        flags: &[],
    },
    section: Section::Net,
};

/// As many queues as the given descriptors can serve.
fn usual_queues(fds: &[i32]) -> u32 {
    u32::try_from(fds.len()).unwrap_or(u32::MAX).max(1).saturating_mul(2)
}

fn parse_fds(text: &str) -> Option<Vec<i32>> {
    split_list(text)?.into_iter().map(parse_integer).collect()
}

impl FromStr for NetConfig {
    type Err = ConfigError;

    /// `tap=` and others without a value are as if not given.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        const ADDRESS: &str = "an IP address, such as 192.168.249.1";
        const MAC: &str = "six bytes in hexadecimal, such as 52:54:00:12:34:56";
        let options = Options::parse(&GRAMMAR, text)?;
        let default = Self::default();
        let fds = options.structured("fd", "a list of descriptors, such as [3,4]", parse_fds)?;
        let fds = fds.unwrap_or_default();
        Ok(Self {
            tap: options.text("tap")?,
            ip: options.parsed("ip", ADDRESS)?,
            mask: options.parsed("mask", "a network mask, such as 255.255.255.0")?,
            mac: options.parsed("mac", MAC)?,
            host_mac: options.parsed("host_mac", MAC)?,
            mtu: options.value("mtu", "a number of bytes up to 65535", parse_integer)?,
            num_queues: options
                .value("num_queues", "a number of queues", parse_integer)?
                .unwrap_or_else(|| usual_queues(&fds)),
            queue_size: options
                .value("queue_size", "a power of two up to 32768", parse_integer)?
                .unwrap_or(default.queue_size),
            id: options.text("id")?,
            fds,
            offload_tso: options.toggle("offload_tso", default.offload_tso)?,
            offload_ufo: options.toggle("offload_ufo", default.offload_ufo)?,
            offload_csum: options.toggle("offload_csum", default.offload_csum)?,
            rate_limiter_config: RateLimiterConfig::from_options(&options)?,
        })
    }
}

impl fmt::Display for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut printed = Printed::default();
        printed.optional_text("tap", self.tap.as_deref());
        for (key, address) in [("ip", self.ip), ("mask", self.mask)] {
            printed.optional_text(key, address.map(|address| address.to_string()).as_deref());
        }
        for (key, address) in [("mac", self.mac), ("host_mac", self.host_mac)] {
            printed.optional_text(key, address.map(String::from).as_deref());
        }
        if let Some(mtu) = self.mtu {
            printed.add("mtu", &mtu.to_string());
        }
        // Always there: an option string is never empty.
        printed.add("num_queues", &self.num_queues.to_string());
        printed.number("queue_size", self.queue_size, default.queue_size);
        printed.optional_text("id", self.id.as_deref());
        if !self.fds.is_empty() {
            let fds: Vec<_> = self.fds.iter().map(i32::to_string).collect();
            printed.add("fd", &format!("[{}]", fds.join(",")));
        }
        printed.toggle("offload_tso", self.offload_tso, default.offload_tso);
        printed.toggle("offload_ufo", self.offload_ufo, default.offload_ufo);
        printed.toggle("offload_csum", self.offload_csum, default.offload_csum);
        self.rate_limiter_config.print(&mut printed);
        printed.fmt(f)
    }
}
