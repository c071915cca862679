//! The manifest: what a snapshot is.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{EXTENT_PAGES, MAX_CONFIG, MAX_STATE, SnapshotError};
use crate::format::{StateReader, StateWriter, Unit};
use crate::memory::{Layout, Region};

/// Extents of a unit of the manifest: less than a payload may be long.
const EXTENTS_PER_UNIT: usize = 1 << 20;

/// What tells a snapshot from all others.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotId([u8; 16]);

impl SnapshotId {
    /// An id of random bytes.
    ///
    /// # Errors
    /// The host has none to give.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes))
    }

    /// An id that is known.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotId({self})")
    }
}

/// A file that is read as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checked {
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl Checked {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc: crc32c::crc32c(bytes) }
    }
}

/// The snapshot that a differential one was made against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BaseName {
    /// Where it is: absolute, or from the directory that the snapshot lies in.
    pub(super) path: String,
    pub(super) id: SnapshotId,
    /// The checksum of its manifest, and so of all that it has.
    pub(super) manifest_crc: u32,
}

/// The first unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) id: SnapshotId,
    pub(super) base: Option<BaseName>,
    pub(super) regions: Vec<Region>,
    pub(super) config: Checked,
    pub(super) state: Checked,
    /// How many units of extents there are, and extents in them all.
    extent_units: u32,
    extents: u64,
}

impl Unit for Head {
    const KIND: &'static str = "snapshot";
    const VERSION: u16 = 1;
}

/// Pages that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) contents: Stored,
}

/// What an extent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stored {
    /// Zeros, where the base has something else.
    Zeros,
    /// What the file has there.
    Data {
        /// CRC32C of the CRC32Cs of its pages, each little-endian.
        crc: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Extents(Vec<Extent>);

impl Unit for Extents {
    const KIND: &'static str = "extents";
    const VERSION: u16 = 1;
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) head: Head,
    pub(super) layout: Layout,
    pub(super) extents: Vec<Extent>,
}

impl Manifest {
    pub(super) fn new(
        id: SnapshotId,
        base: Option<BaseName>,
        layout: &Layout,
        extents: Vec<Extent>,
        (config, state): (Checked, Checked),
    ) -> Self {
        let units = extents.len().div_ceil(EXTENTS_PER_UNIT);
        let head = Head {
            id,
            base,
            regions: layout.regions().to_vec(),
            config,
            state,
            // Not more than there are pages.
            extent_units: u32::try_from(units).unwrap_or(u32::MAX),
            extents: extents.len() as u64,
        };
        Self { head, layout: layout.clone(), extents }
    }

    pub(super) fn encode(&self, path: &Path) -> Result<Vec<u8>, SnapshotError> {
        let mut writer = StateWriter::new();
        writer.put(&self.head).map_err(SnapshotError::format(path))?;
        for (at, extents) in self.extents.chunks(EXTENTS_PER_UNIT).enumerate() {
            let unit = Extents(extents.to_vec());
            let put = writer.put_instance(&at.to_string(), &unit);
            put.map_err(SnapshotError::format(path))?;
        }
        Ok(writer.finish())
    }

    /// Decodes a manifest, and checks all that can be checked without the other files.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Self, SnapshotError> {
        let format = || SnapshotError::format(path);
        let mut reader = StateReader::parse(bytes).map_err(format())?;
        let head: Head = reader.take().map_err(format())?;
        let mut extents = Vec::new();
        for at in 0..head.extent_units {
            // Ends at the first unit that is not there.
            let unit = reader.take_instance::<Extents>(&at.to_string());
            extents.extend(unit.map_err(format())?.0);
        }
        reader.finish().map_err(format())?;
        let layout = Layout::new(head.regions.clone())
            .map_err(|source| SnapshotError::Layout { path: path.to_owned(), source })?;
        let manifest = Self { head, layout, extents };
        let wrong = |what| SnapshotError::Manifest { path: path.to_owned(), what };
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.head.extents != self.extents.len() as u64 {
            return Err(format!("{} extents of {}", self.extents.len(), self.head.extents));
        }
        if self.head.config.bytes > MAX_CONFIG || self.head.state.bytes > MAX_STATE {
            return Err("the configuration or the state is longer than is allowed".to_owned());
        }
        let mut end = 0;
        for Extent { first, count, contents } in &self.extents {
            let name = || format!("the extent of {count} pages at page {first}");
            let run = self.layout.run(*first, *count).filter(|run| run.first() >= end);
            let run = run.ok_or_else(|| format!("{} is outside or out of order", name()))?;
            match contents {
                Stored::Zeros if self.head.base.is_none() => {
                    return Err(format!("{} is listed as zeros without a base", name()));
                }
                Stored::Data { .. } if *count > EXTENT_PAGES => {
                    return Err(format!("{} is longer than {EXTENT_PAGES}", name()));
                }
                Stored::Zeros | Stored::Data { .. } => {}
            }
            end = run.end();
        }
        Ok(())
    }
}
