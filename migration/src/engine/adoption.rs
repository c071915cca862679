//! What a VM is built around that comes from another VMM of this host: its memory, and the open files of its disks.
//!
//! ```text
//!   parts, each with a descriptor ──of──▶ Adoption: one memory; disks by their ids, each whole ──for_disks──▶ no disk missing, none unknown
//! ```
//!
//! Invariants: nothing is missing, doubled or left over, or the error names the disk. What is refused is closed.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::wire::{Capabilities, DiskFile, Part, Passed};

/// How much of a VM is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Its memory; disks are opened anew, by their paths.
    Memory,
    /// Its memory, and all files of all disks.
    MemoryAndDisks,
}

impl Extent {
    /// What two ends pass that can do this both.
    pub(super) fn of(capabilities: Capabilities) -> Self {
        if capabilities.has(Capabilities::DISKS) { Self::MemoryAndDisks } else { Self::Memory }
    }
}

/// The open files of a disk.
#[derive(Debug)]
pub struct DiskFiles {
    /// Its image.
    pub image: OwnedFd,
    /// The same file for direct I/O.
    pub direct: Option<OwnedFd>,
    /// Its backing files, each followed by its own.
    pub backing: Vec<OwnedFd>,
}

/// The disks that were passed, by their ids.
pub type AdoptedDisks = BTreeMap<String, DiskFiles>;

/// What was passed.
#[derive(Debug)]
pub struct Adoption {
    /// All of the VM's memory.
    pub memory: OwnedFd,
    /// Its disks; none if those are to be opened anew.
    pub disks: Option<AdoptedDisks>,
}

/// Why what was passed makes no VM.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptionError {
    /// Not one memory.
    #[error("{0} memories were passed where one should be")]
    Memories(usize),
    /// Disks that nobody has agreed upon.
    #[error("disk {0:?} was passed, and disks are to be opened anew")]
    Unasked(String),
    /// A file of a disk twice.
    #[error("disk {id:?}: {file} was passed twice")]
    Twice {
        /// The disk.
        id: String,
        /// Which file.
        file: DiskFile,
    },
    /// A disk of which there is something, but not this.
    #[error("disk {id:?}: {file} was not passed")]
    Missing {
        /// The disk.
        id: String,
        /// Which file.
        file: DiskFile,
    },
    /// A disk that the VM does not have.
    #[error("disk {0:?} was passed, which the VM does not have")]
    Unknown(String),
}

/// What has come of a disk so far.
#[derive(Default)]
struct Coming {
    image: Option<OwnedFd>,
    direct: Option<OwnedFd>,
    backing: BTreeMap<u8, OwnedFd>,
}

impl Coming {
    /// What was in its place, if something was.
    fn put(&mut self, which: DiskFile, file: OwnedFd) -> Option<OwnedFd> {
        match which {
            DiskFile::Image => self.image.replace(file),
            DiskFile::Direct => self.direct.replace(file),
            DiskFile::Backing(place) => self.backing.insert(place, file),
        }
    }

    fn whole(self) -> Result<DiskFiles, DiskFile> {
        let image = self.image.ok_or(DiskFile::Image)?;
        let mut backing = Vec::new();
        for (expected, (place, file)) in (0..).zip(self.backing) {
            if place != expected {
                return Err(DiskFile::Backing(expected));
            }
            backing.push(file);
        }
        Ok(DiskFiles { image, direct: self.direct, backing })
    }
}

impl Adoption {
    /// From what was passed, in whatever order.
    ///
    /// # Errors
    /// It is not one memory, or disks that are not whole, doubled, or not to come.
    pub fn of(passed: Vec<Passed>, extent: Extent) -> Result<Self, AdoptionError> {
        let mut memories = Vec::new();
        let mut coming = BTreeMap::<String, Coming>::new();
        for Passed { part, file } in passed {
            match part {
                Part::Memory => memories.push(file),
                Part::Disk { id, .. } if extent == Extent::Memory => {
                    return Err(AdoptionError::Unasked(id));
                }
                Part::Disk { id, file: which } => {
                    if coming.entry(id.clone()).or_default().put(which, file).is_some() {
                        return Err(AdoptionError::Twice { id, file: which });
                    }
                }
            }
        }
        let count = memories.len();
        let (1, Some(memory)) = (count, memories.pop()) else {
            return Err(AdoptionError::Memories(count));
        };
        let whole = coming.into_iter().map(|(id, coming)| match coming.whole() {
            Ok(files) => Ok((id, files)),
            Err(file) => Err(AdoptionError::Missing { id, file }),
        });
        let disks = whole.collect::<Result<_, _>>()?;
        Ok(Self { memory, disks: (extent == Extent::MemoryAndDisks).then_some(disks) })
    }

    /// Whether these are the disks of the VM.
    ///
    /// # Errors
    /// One was not passed, or one was that the VM does not have.
    pub fn for_disks<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Result<(), AdoptionError> {
        let Some(disks) = &self.disks else { return Ok(()) };
        let ids: Vec<_> = ids.collect();
        if let Some(id) = ids.iter().find(|id| !disks.contains_key(**id)) {
            return Err(AdoptionError::Missing { id: (*id).to_owned(), file: DiskFile::Image });
        }
        match disks.keys().find(|id| !ids.contains(&id.as_str())) {
            Some(id) => Err(AdoptionError::Unknown(id.clone())),
            None => Ok(()),
        }
    }
}

impl DiskFiles {
    /// As they are passed.
    pub fn passed(self, id: &str) -> impl Iterator<Item = Passed> {
        let image = (DiskFile::Image, self.image);
        let direct = self.direct.map(|file| (DiskFile::Direct, file));
        let backing = (0..).map(DiskFile::Backing).zip(self.backing);
        let part = |file| Part::Disk { id: id.to_owned(), file };
        let files = std::iter::once(image).chain(direct).chain(backing);
        files.map(move |(which, file)| Passed { part: part(which), file })
    }
}
