//! What the model's file system keeps, and the faults that come while it is changed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::snapshot::StoredFile;

/// Where the tree begins.
pub(super) const ROOT: usize = 0;

/// What goes wrong, and at which change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Never,
    /// From this change on, what takes room fails.
    Full {
        /// How many changes come before.
        at: u64,
    },
    /// At this change everything ends.
    Crash {
        /// How many changes come before.
        at: u64,
    },
}

#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
}

pub(super) type Entries = BTreeMap<OsString, usize>;

#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    pub(super) now: Entries,
    pub(super) durable: Entries,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) nodes: RefCell<Vec<Node>>,
    pub(super) fault: Cell<Fault>,
    pub(super) changes: Cell<u64>,
}

/// A file in it.
#[derive(Debug)]
pub struct ModelFile {
    pub(super) disk: Rc<Disk>,
    pub(super) node: usize,
}

/// Whether a change can be had.
#[derive(PartialEq, Eq)]
pub(super) enum Step {
    Whole,
    /// The change in which the fault comes.
    Half(io::ErrorKind),
}

/// Whether a change needs room on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Room,
    None,
}

impl Step {
    pub(super) fn whole(self) -> io::Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Half(kind) => Err(kind.into()),
        }
    }
}

impl Disk {
    pub(super) fn step(&self, takes: Takes) -> io::Result<Step> {
        let now = self.changes.get();
        self.changes.set(now + 1);
        match self.fault.get() {
            Fault::Crash { at } if now > at => Err(io::ErrorKind::BrokenPipe.into()),
            Fault::Crash { at } if now == at => Ok(Step::Half(io::ErrorKind::BrokenPipe)),
            Fault::Full { at } if now >= at && takes == Takes::Room => {
                Ok(Step::Half(io::ErrorKind::StorageFull))
            }
            Fault::Never | Fault::Full { .. } | Fault::Crash { .. } => Ok(Step::Whole),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        let nodes = self.nodes.borrow();
        path.iter().filter(|part| *part != "." && *part != "/").try_fold(ROOT, |at, part| {
            match &nodes[at] {
                Node::Directory(directory) => {
                    directory.now.get(part).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
                }
                Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
            }
        })
    }
}

impl ModelFile {
    fn with<T>(&self, act: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        match &mut self.disk.nodes.borrow_mut()[self.node] {
            Node::File(file) => Ok(act(file)),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// Changes a range of the file; half of it where the fault comes.
    fn change(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let step = self.disk.step(Takes::Room)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let done = if step == Step::Whole { bytes.len() } else { bytes.len() / 2 };
        self.with(|file| {
            let end = start + done;
            file.now.resize(file.now.len().max(end), 0);
            file.now[start..end].copy_from_slice(&bytes[..done]);
        })?;
        step.whole()
    }
}

impl StoredFile for ModelFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| file.now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.step(Takes::None)?.whole()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.with(|file| file.now.resize(len, 0))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|file| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(into.len());
            let bytes = file.now.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(bytes);
            Ok(())
        })?
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(offset, bytes)
    }

    fn zero_at(&self, offset: u64, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(offset, &vec![0; len])
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step(Takes::Room)?.whole()?;
        self.with(|file| file.durable.clone_from(&file.now))
    }
}
