//! What the two ends say to each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Compression, Part};
use crate::memory::Region;

/// A migration, told from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session(pub [u8; 16]);

impl Session {
    /// One of random bytes.
    ///
    /// # Errors
    /// The host has none to give.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes))
    }
}

/// What an end can do beyond the protocol's version: a bit each. Bits that are not known are of no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// All that this program can do.
    pub const ALL: Self = Self(0b111 | Self::DISKS.0 | Self::POSTCOPY.0);
    /// Who takes memory over takes over the open files of all disks, too.
    pub const DISKS: Self = Self(1 << 3);
    /// A VM may come whose memory comes after it.
    pub const POSTCOPY: Self = Self(1 << 8);

    /// Whether it can do all of these.
    #[must_use]
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// All but these.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether pages may be sent so.
    #[must_use]
    pub fn allow(self, compression: Compression) -> bool {
        match compression {
            Compression::None => true,
            Compression::Lz4 => self.0 & 1 != 0,
            Compression::Zstd => self.0 & 2 != 0,
        }
    }

    /// Whether memory may be taken over.
    #[must_use]
    pub fn can_adopt(self) -> bool {
        self.0 & 4 != 0
    }

    /// What both can do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Whether the VM ran when its migration began to hold it, and so whether it is to run at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// It ran.
    Running,
    /// Somebody else held it, and still does.
    Paused,
}

/// What a VM's saving and restoring take, as the destination has tried it out on its own: nobody can on a VM that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// To save it, in ns.
    pub save: u64,
    /// To make it ready, in ns.
    pub setup: u64,
    /// The length of its state, in bytes.
    pub state: u64,
}

/// Why an end gave up: a line of text for people, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Reason(String);

impl Reason {
    /// The most characters of a reason.
    const MAX: usize = 1000;
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        // A peer's text ends on a terminal.
        let clean = |c: char| if c.is_control() { '?' } else { c };
        Self(text.chars().take(Self::MAX).map(clean).collect())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Source: begins a migration.
    Hello {
        /// The oldest version that the source speaks.
        min_version: u16,
        /// The newest one.
        max_version: u16,
        /// Which migration.
        session: Session,
        /// What the source can do.
        capabilities: Capabilities,
        /// How many connections there will be, this one among them.
        connections: u16,
    },
    /// Source: begins another connection of the migration.
    Join {
        /// Which migration.
        session: Session,
        /// Which connection, from 1.
        index: u16,
    },
    /// Source: what VM it is.
    Describe {
        /// Where its memory lies.
        regions: Vec<Region>,
        /// Its configuration.
        config: Vec<u8>,
    },
    /// Source: all pages of a round have been sent.
    RoundEnd {
        /// Its number, from 0.
        round: u32,
    },
    /// Source: the state follows, in frames of its own.
    State {
        /// Its length.
        bytes: u64,
        /// Its CRC32C.
        crc: u32,
    },
    /// Source: the destination shall make ready.
    Prepare {
        /// Whether the VM is to run.
        phase: Phase,
    },
    /// Source: the VM is the destination's.
    Commit,
    /// Source: there will be no migration.
    Abort {
        /// Why.
        reason: Reason,
    },
    /// Destination: to `Hello`.
    Welcome {
        /// The version that is spoken.
        version: u16,
        /// What both can do.
        capabilities: Capabilities,
    },
    /// Destination: to `Describe`; the VM is built but for its contents.
    Built {
        /// What it has tried out.
        rehearsal: Option<Rehearsal>,
    },
    /// Destination: to `RoundEnd`; all of its pages are in their places.
    RoundDone {
        /// Its number.
        round: u32,
    },
    /// Destination: to `Prepare`; nothing is left to be done but to take the disks and to start.
    Ready {
        /// What making ready took, in ns.
        setup: u64,
    },
    /// Destination: to `Commit`; the VM is here.
    Committed,
    /// Destination: to anything; the VM is not here, and will not be.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// Source: parts of the VM are passed, with the byte that follows.
    Adopt {
        /// Which, each with a descriptor.
        parts: Vec<Part>,
    },
    /// Source: before `Prepare`; these pages come after the VM.
    Missing {
        /// The first page of each run, and how many follow each other, in ascending order.
        runs: Vec<(u64, u64)>,
    },
    /// Destination: somebody waits for a page that is missing.
    Need {
        /// Which.
        page: u64,
    },
    /// Either: nothing, but the connection is alive.
    Beat,
    /// Destination: no page is needed any more.
    Arrived,
}

impl Message {
    /// What it is called in errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "Hello",
            Self::Join { .. } => "Join",
            Self::Describe { .. } => "Describe",
            Self::RoundEnd { .. } => "RoundEnd",
            Self::State { .. } => "State",
            Self::Prepare { .. } => "Prepare",
            Self::Commit => "Commit",
            Self::Abort { .. } => "Abort",
            Self::Welcome { .. } => "Welcome",
            Self::Built { .. } => "Built",
            Self::RoundDone { .. } => "RoundDone",
            Self::Ready { .. } => "Ready",
            Self::Committed => "Committed",
            Self::Refused { .. } => "Refused",
            Self::Adopt { .. } => "Adopt",
            Self::Missing { .. } => "Missing",
            Self::Need { .. } => "Need",
            Self::Beat => "Beat",
            Self::Arrived => "Arrived",
        }
    }
}
