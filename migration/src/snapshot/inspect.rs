//! What is in a snapshot, for people.

use std::path::PathBuf;

use super::manifest::Stored;
use super::{Snapshot, SnapshotError, SnapshotId, Storage};
use crate::format::{StateReader, UnitSummary};
use crate::memory::{PAGE_SIZE, Region};

/// What is in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which one it is.
    pub id: SnapshotId,
    /// What it builds on, the full one first.
    pub bases: Vec<(PathBuf, SnapshotId)>,
    /// Where its memory lies.
    pub regions: Vec<Region>,
    /// The size of the memory, in bytes.
    pub memory_bytes: u64,
    /// What of it this snapshot itself holds, in bytes.
    pub data_bytes: u64,
    /// What of it has become zeros since the base, in bytes.
    pub zeroed_bytes: u64,
    /// The length of the configuration, in bytes.
    pub config_bytes: u64,
    /// The units of its state.
    pub units: Vec<UnitSummary>,
}

impl<S: Storage> Snapshot<'_, S> {
    /// Looks into it. Memory is not read; configuration and state are, and checked.
    ///
    /// # Errors
    /// Configuration or state is not there, or not what was written.
    pub fn inspect(&self) -> Result<Summary, SnapshotError> {
        let config_bytes = self.config()?.len() as u64;
        let state = self.state()?;
        let reader = StateReader::parse(&state);
        let reader = reader.map_err(SnapshotError::format(&self.path().join(super::STATE)))?;
        let mut links: Vec<_> = self.links().collect();
        let extents = links.pop().map(|last| &last.manifest.extents);
        let (mut data_pages, mut zeroed_pages) = (0, 0);
        for extent in extents.into_iter().flatten() {
            match extent.contents {
                Stored::Data { .. } => data_pages += extent.count,
                Stored::Zeros => zeroed_pages += extent.count,
            }
        }
        Ok(Summary {
            id: self.id(),
            bases: links.iter().map(|link| (link.path.clone(), link.manifest.head.id)).collect(),
            regions: self.layout().regions().to_vec(),
            memory_bytes: self.layout().bytes(),
            data_bytes: data_pages * PAGE_SIZE as u64,
            zeroed_bytes: zeroed_pages * PAGE_SIZE as u64,
            config_bytes,
            units: reader.summary().collect(),
        })
    }
}
