//! What is in a snapshot, for people and their programs.

use std::path::Path;

use migration::snapshot::{HostStorage, Snapshot};
use serde::Serialize;

use crate::config::VmConfig;
use crate::control::ControlError;

/// What is in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotInfo {
    /// Which one it is.
    pub id: String,
    /// What it builds on, the full one first: directory and id.
    pub bases: Vec<(String, String)>,
    /// The configuration of its VM.
    pub config: VmConfig,
    /// Where its memory lies: guest physical address and bytes of each region.
    pub regions: Vec<(u64, u64)>,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of it that this snapshot itself holds.
    pub data_bytes: u64,
    /// Bytes of it that have become zeros since the base.
    pub zeroed_bytes: u64,
    /// The units of its state: name, version and bytes.
    pub units: Vec<(String, u16, usize)>,
}

/// Looks into a snapshot. Its memory is not read.
///
/// # Errors
/// It is no snapshot, or damaged.
pub fn inspect(directory: &Path) -> Result<SnapshotInfo, ControlError> {
    let storage = HostStorage;
    let snapshot = Snapshot::open(&storage, directory)?;
    let summary = snapshot.inspect()?;
    let config = VmConfig::from_json(&snapshot.config()?)?;
    let page = migration::memory::PAGE_SIZE as u64;
    let regions = summary.regions.iter().map(|region| (region.gpa, region.pages * page));
    let bases = summary.bases.iter();
    Ok(SnapshotInfo {
        id: summary.id.to_string(),
        bases: bases.map(|(path, id)| (path.display().to_string(), id.to_string())).collect(),
        config,
        regions: regions.collect(),
        memory_bytes: summary.memory_bytes,
        data_bytes: summary.data_bytes,
        zeroed_bytes: summary.zeroed_bytes,
        units: summary
            .units
            .into_iter()
            .map(|unit| (unit.name, unit.version, unit.bytes))
            .collect(),
    })
}
