//! What is asked for when a VM as a whole is saved, restored, sent or received.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::validate::invalid;
use super::{ConfigError, LinkUrl, NetFds, link_url};

/// The most connections of a migration.
pub const MAX_CONNECTIONS: u16 = migration::wire::MAX_CONNECTIONS;

/// The body of `vm.snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotConfig {
    /// The directory that is to be made.
    pub destination_url: String,
    /// Whether memory is copied while the guest runs.
    #[serde(default)]
    pub live: bool,
    /// The snapshot to which the difference is saved; none for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
}

/// How the memory of a snapshot gets into a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryRestoreMode {
    /// It is copied and checked before the VM runs.
    #[default]
    #[serde(alias = "copy")]
    Copy,
    /// The VM runs at once. Pages are read, and checked, when they are touched, and all others in the background. On a host
    /// that cannot do that, as `Mapped`.
    #[serde(alias = "ondemand", alias = "on-demand")]
    OnDemand,
    /// The full snapshot's file is mapped privately, and pages are read, unchecked, when they are touched.
    #[serde(alias = "mapped")]
    Mapped,
}

/// The body of `vm.restore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreConfig {
    /// The snapshot's directory.
    pub source_url: String,
    /// Whether the VM runs afterwards; else it is paused.
    #[serde(default)]
    pub resume: bool,
    /// How its memory is filled.
    #[serde(default)]
    pub memory_restore_mode: MemoryRestoreMode,
    /// Open taps of this process for its network devices: numbers that mean nothing to who asks over the API.
    #[serde(skip)]
    pub net_fds: Vec<NetFds>,
}

impl RestoreConfig {
    /// From there, the rest as usual.
    #[must_use]
    pub fn of(source_url: &str) -> Self {
        Self {
            source_url: source_url.to_owned(),
            resume: false,
            memory_restore_mode: MemoryRestoreMode::default(),
            net_fds: Vec::new(),
        }
    }
}

/// What becomes of a migration whose guest writes memory faster than the downtime has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeoutStrategy {
    /// At the time-out the VM stays.
    #[default]
    #[serde(alias = "cancel")]
    Cancel,
    /// At the time-out the VM is handed over however long it stands still.
    #[serde(alias = "ignore")]
    Ignore,
    /// The guest is throttled until it converges; at the time-out as `Cancel`.
    #[serde(alias = "throttle")]
    Throttle,
}

/// How pages go over the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageCompression {
    /// As they are.
    #[default]
    #[serde(alias = "none")]
    None,
    /// LZ4: little work.
    #[serde(alias = "lz4")]
    Lz4,
    /// Zstandard: fewer bytes.
    #[serde(alias = "zstd")]
    Zstd,
}

/// When memory goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryMode {
    /// Before the VM does.
    #[default]
    #[serde(alias = "precopy")]
    Precopy,
    /// The rest after the VM, if it does not get little enough. If the link breaks then, the VM is lost.
    #[serde(alias = "postcopy")]
    Postcopy,
}

/// Connections that memory takes that goes after the VM: messages, requests, urgent pages.
const POSTCOPY_CONNECTIONS: u16 = 3;

/// The body of `vm.send-migration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendMigrationConfig {
    /// Where somebody waits for the VM.
    pub destination_url: String,
    /// How long the guest may stand still, in milliseconds.
    #[serde(default = "SendMigrationConfig::usual_downtime_ms")]
    pub downtime_ms: u64,
    /// How long to go on copying, in seconds, before the strategy decides.
    #[serde(default = "SendMigrationConfig::usual_timeout_s")]
    pub timeout_s: u64,
    /// What happens then.
    #[serde(default)]
    pub timeout_strategy: TimeoutStrategy,
    /// How many connections carry pages, 1 to [`MAX_CONNECTIONS`].
    #[serde(default = "SendMigrationConfig::usual_connections")]
    pub connections: u16,
    /// How pages are sent.
    #[serde(default)]
    pub compression: PageCompression,
    /// Whether memory may go after the VM.
    #[serde(default)]
    pub memory_mode: MemoryMode,
    /// With [`MemoryMode::Postcopy`], after how many rounds over the memory the rest goes after the VM, if it is not little enough before; 0 for all of it.
    #[serde(default = "SendMigrationConfig::usual_precopy_rounds")]
    pub precopy_rounds: u32,
    /// The directory with this end's certificate and key, and those who issue the other's; none for a link without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_dir: Option<PathBuf>,
    /// Whether the destination, on this host, takes over the memory itself, and the open files of the disks.
    #[serde(default)]
    pub local: bool,
}

impl SendMigrationConfig {
    /// To a destination, the rest as usual.
    #[must_use]
    pub fn to(destination_url: &str) -> Self {
        Self {
            destination_url: destination_url.to_owned(),
            downtime_ms: Self::usual_downtime_ms(),
            timeout_s: Self::usual_timeout_s(),
            timeout_strategy: TimeoutStrategy::default(),
            connections: Self::usual_connections(),
            compression: PageCompression::default(),
            memory_mode: MemoryMode::default(),
            precopy_rounds: Self::usual_precopy_rounds(),
            tls_dir: None,
            local: false,
        }
    }

    const fn usual_downtime_ms() -> u64 {
        300
    }

    const fn usual_timeout_s() -> u64 {
        3600
    }

    const fn usual_connections() -> u16 {
        1
    }

    const fn usual_precopy_rounds() -> u32 {
        1
    }

    /// All connections of such a migration: memory that goes after the VM takes more of them.
    #[must_use]
    pub fn all_connections(&self) -> u16 {
        match self.memory_mode {
            MemoryMode::Precopy => self.connections,
            MemoryMode::Postcopy => self.connections.saturating_add(POSTCOPY_CONNECTIONS),
        }
    }

    /// Such a migration can be tried.
    pub fn validate(&self) -> Result<LinkUrl, ConfigError> {
        let refuse = |problem: String| Err(invalid("send-migration", &problem));
        if self.downtime_ms == 0 {
            return refuse("downtime_ms 0: no VM is handed over in no time".to_owned());
        }
        if self.timeout_s == 0 {
            return refuse("timeout_s 0: a migration needs time".to_owned());
        }
        if !(1..=MAX_CONNECTIONS).contains(&self.connections) {
            let given = self.connections;
            return refuse(format!("connections {given}: there can be 1 to {MAX_CONNECTIONS}"));
        }
        if self.all_connections() > MAX_CONNECTIONS {
            let most = MAX_CONNECTIONS - POSTCOPY_CONNECTIONS;
            let given = self.connections;
            return refuse(format!("connections {given}: with postcopy there can be 1 to {most}"));
        }
        let url = link_url("destination_url", &self.destination_url)?;
        tls_is_for_tcp(&url, self.tls_dir.as_ref())?;
        if self.local {
            self.validate_local(&url)?;
        }
        Ok(url)
    }

    fn validate_local(&self, url: &LinkUrl) -> Result<(), ConfigError> {
        let problem = if !matches!(url, LinkUrl::Unix(_)) {
            format!(
                "local: memory is passed over a Unix socket, which {url} is not; give unix:/path"
            )
        } else if self.connections > 1 {
            format!("local: no memory is sent; connections {} has no use", self.connections)
        } else if self.memory_mode != MemoryMode::Precopy {
            "local: no memory is sent, before the VM or after it; memory_mode has no use".to_owned()
        } else if self.compression != PageCompression::None {
            "local: no memory is sent; compression has no use".to_owned()
        } else {
            return Ok(());
        };
        Err(invalid("send-migration", &problem))
    }
}

/// Who has a Unix socket is on this host, and let in by its mode.
fn tls_is_for_tcp(url: &LinkUrl, tls_dir: Option<&PathBuf>) -> Result<(), ConfigError> {
    match (url, tls_dir) {
        (LinkUrl::Unix(_), Some(_)) => {
            let problem = format!("TLS is for tcp:host:port; {url} needs none");
            Err(invalid("tls_dir", &problem))
        }
        _ => Ok(()),
    }
}

/// The body of `vm.receive-migration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveMigrationConfig {
    /// Where to wait for the VM.
    pub receiver_url: String,
    /// The directory with this end's certificate and key, and those who issue the source's; none for a link without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_dir: Option<PathBuf>,
    /// Open taps of this process for its network devices: numbers that mean nothing to who asks over the API.
    #[serde(skip)]
    pub net_fds: Vec<NetFds>,
}

impl ReceiveMigrationConfig {
    /// Waiting there, the rest as usual.
    #[must_use]
    pub fn on(receiver_url: &str) -> Self {
        Self { receiver_url: receiver_url.to_owned(), tls_dir: None, net_fds: Vec::new() }
    }

    /// A VM can be waited for so.
    pub fn validate(&self) -> Result<LinkUrl, ConfigError> {
        let url = link_url("receiver_url", &self.receiver_url)?;
        tls_is_for_tcp(&url, self.tls_dir.as_ref())?;
        Ok(url)
    }
}

/// What becomes of a VM that may be at the destination of a migration, or here: the operator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// It is here, as it was before.
    #[serde(alias = "keep")]
    Keep,
    /// It is there: it ends here.
    #[serde(alias = "drop")]
    Drop,
}

/// The body of `vm.migration-resolve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveConfig {
    /// Whose the VM is.
    pub resolution: Resolution,
}

#[cfg(test)]
mod tests;
