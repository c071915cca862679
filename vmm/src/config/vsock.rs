//! Sockets between guest and host (virtio-vsock): `--vsock cid=3,socket=/run/web.vsock`.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Allowed, ConfigError};
use super::options::{Grammar, Options, Printed};
use super::unsupported::Section;
use super::values::parse_integer;

/// The vsock device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockConfig {
    /// The guest's context identifier: 0 to 2 are the hypervisor's and the host's (`vsock(7)`).
    pub cid: u64,
    /// The Unix socket on which host programs reach the guest. For a connection from the guest to
    /// port N, the socket with `_N` behind the name is connected to.
    pub socket: PathBuf,
    /// Name of the device in requests; made when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

const GRAMMAR: Grammar = Grammar {
    option: "--vsock",
    allowed: Allowed { keys: &["cid", "socket", "id"], flags: &[] },
    section: Section::Vsock,
};

impl FromStr for VsockConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        const CID: &str = "a number from 3 to 4294967294";
        let options = Options::parse(&GRAMMAR, text)?;
        Ok(Self {
            cid: options.required("cid", options.value("cid", CID, parse_integer)?)?,
            socket: options.required("socket", options.path("socket")?)?,
            id: options.text("id")?,
        })
    }
}

impl fmt::Display for VsockConfig {
    /// The path is shown as text: one that is not UTF-8 does not parse back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::default();
        printed.add("cid", &self.cid.to_string());
        printed.text("socket", &self.socket.to_string_lossy());
        printed.optional_text("id", self.id.as_deref());
        printed.fmt(f)
    }
}
