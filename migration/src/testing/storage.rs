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
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::disk::{Directory, Disk, Entries, Fault, File, ModelFile, Node, ROOT, Takes};
use crate::snapshot::Storage;

const BLOCK: usize = 512;

/// The file system.
#[derive(Debug, Clone)]
pub struct ModelStorage(Rc<Disk>);

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
