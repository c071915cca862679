//! A file system in memory, of which nothing outlasts a crash that was not synced.
//!
//! ```text
//!   change ──▶ now ──sync──▶ on the disk
//!   crash: each file's blocks, each file's length and each directory's entries are those of now or those on the disk
//! ```
//!
//! A change costs one step. At the step that was chosen it fails half way: with a full disk, after which everything that
//! takes no room goes on; or with a crash, after which nothing does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

use crate::snapshot::{Storage, StoredFile};

const BLOCK: usize = 512;
const ROOT: usize = 0;

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
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
}

type Entries = BTreeMap<OsString, usize>;

#[derive(Debug, Clone, Default)]
struct Directory {
    now: Entries,
    durable: Entries,
}

#[derive(Debug, Clone)]
enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Debug)]
struct Disk {
    nodes: RefCell<Vec<Node>>,
    fault: Cell<Fault>,
    changes: Cell<u64>,
}

/// The file system.
#[derive(Debug, Clone)]
pub struct ModelStorage(Rc<Disk>);

/// A file in it.
#[derive(Debug)]
pub struct ModelFile {
    disk: Rc<Disk>,
    node: usize,
}

/// Whether a change can be had.
#[derive(PartialEq, Eq)]
enum Step {
    Whole,
    /// The change in which the fault comes.
    Half(io::ErrorKind),
}

impl Default for ModelStorage {
    fn default() -> Self {
        Self::new(vec![Node::Directory(Directory::default())])
    }
}

impl ModelStorage {
    fn new(nodes: Vec<Node>) -> Self {
        Self(Rc::new(Disk {
            nodes: RefCell::new(nodes),
            fault: Cell::new(Fault::Never),
            changes: Cell::new(0),
        }))
    }

    /// Chooses what goes wrong, and begins to count changes.
    pub fn break_at(&self, fault: Fault) {
        self.0.fault.set(fault);
        self.0.changes.set(0);
    }

    /// Changes since [`break_at`](Self::break_at).
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.changes.get()
    }

    /// What is found after a crash: of everything that was not synced, what `keeps` keeps.
    #[must_use]
    pub fn after_crash(&self, mut keeps: impl FnMut() -> bool) -> Self {
        let mut nodes = self.0.nodes.borrow().clone();
        for node in &mut nodes {
            match node {
                Node::Directory(directory) => {
                    if keeps() {
                        directory.durable = directory.now.clone();
                    }
                    directory.now = directory.durable.clone();
                }
                Node::File(file) => {
                    let len = if keeps() { file.now.len() } else { file.durable.len() };
                    let mut left = file.durable.clone();
                    left.resize(len, 0);
                    let now = file.now.chunks(BLOCK);
                    for (kept, now) in left.chunks_mut(BLOCK).zip(now) {
                        if kept.len() == now.len() && *kept != *now && keeps() {
                            kept.copy_from_slice(now);
                        }
                    }
                    *file = File { now: left.clone(), durable: left };
                }
            }
        }
        Self::new(nodes)
    }

    /// Puts a file there, on the disk; its directories are made.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut nodes = self.0.nodes.borrow_mut();
        let mut at = ROOT;
        let mut parts = path.iter().peekable();
        while let Some(part) = parts.next() {
            let new = nodes.len();
            let Node::Directory(directory) = &mut nodes[at] else { return };
            let found = directory.now.get(part).copied();
            directory.now.insert(part.to_owned(), found.unwrap_or(new));
            directory.durable.clone_from(&directory.now);
            if found.is_none() {
                nodes.push(match parts.peek() {
                    Some(_) => Node::Directory(Directory::default()),
                    None => Node::File(File::default()),
                });
            }
            at = found.unwrap_or(new);
        }
        if let Node::File(file) = &mut nodes[at] {
            *file = File { now: bytes.to_vec(), durable: bytes.to_vec() };
        }
    }

    /// Does something with the entry of a path: the entries of its directory, and its name.
    fn entry<T>(
        &self,
        path: &Path,
        act: impl FnOnce(&mut Entries, OsString) -> io::Result<T>,
    ) -> io::Result<T> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let directory = self.0.find(path.parent().unwrap_or(Path::new("")))?;
        match &mut self.0.nodes.borrow_mut()[directory] {
            Node::Directory(directory) => act(&mut directory.now, name),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&self, path: &Path, node: Node) -> io::Result<usize> {
        self.0.step(Takes::Room)?.whole()?;
        let new = self.0.nodes.borrow().len();
        self.entry(path, |entries, name| {
            if entries.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            entries.insert(name, new);
            Ok(())
        })?;
        self.0.nodes.borrow_mut().push(node);
        Ok(new)
    }
}

/// Whether a change needs room on the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Room,
    None,
}

impl Step {
    fn whole(self) -> io::Result<()> {
        match self {
            Self::Whole => Ok(()),
            Self::Half(kind) => Err(kind.into()),
        }
    }
}

impl Disk {
    fn step(&self, takes: Takes) -> io::Result<Step> {
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

    fn find(&self, path: &Path) -> io::Result<usize> {
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

impl Storage for ModelStorage {
    type File = ModelFile;

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.add(path, Node::Directory(Directory::default())).map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<ModelFile> {
        let node = self.add(path, Node::File(File::default()))?;
        Ok(ModelFile { disk: Rc::clone(&self.0), node })
    }

    fn open(&self, path: &Path) -> io::Result<ModelFile> {
        let node = self.0.find(path)?;
        Ok(ModelFile { disk: Rc::clone(&self.0), node })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.0.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step(Takes::None)?.whole()?;
        let name = to.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        self.entry(from, |entries, old| {
            let node = entries.remove(&old).ok_or(io::ErrorKind::NotFound)?;
            entries.insert(name, node);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step(Takes::Room)?.whole()?;
        let node = self.0.find(path)?;
        if let Node::Directory(directory) = &mut self.0.nodes.borrow_mut()[node] {
            directory.durable = directory.now.clone();
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.step(Takes::None)?.whole()?;
        self.entry(path, |entries, name| match entries.remove(&name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
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
