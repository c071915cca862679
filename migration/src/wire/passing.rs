//! Parts of a VM that go to another process of this host as they are: the descriptors behind them.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::connection::{is_transient, left};
use super::{Connection, MAX_PASSED, Message, Transport, WireError};

/// A part of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All pages of its memory, in their order: a memfd.
    Memory,
    /// A file of a disk.
    Disk {
        /// The disk's id.
        id: String,
        /// Which of its files.
        file: DiskFile,
    },
}

/// Which of a disk's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskFile {
    /// Its image.
    Image,
    /// The image once more, open for direct I/O.
    Direct,
    /// A backing file: 0 is the image's, each further one that of the one before.
    Backing(u8),
}

impl fmt::Display for DiskFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => f.write_str("its image"),
            Self::Direct => f.write_str("its image for direct I/O"),
            Self::Backing(place) => write!(f, "its backing file {place}"),
        }
    }
}

/// A part, and what is behind it.
#[derive(Debug)]
pub struct Passed {
    /// Which.
    pub part: Part,
    /// Its file.
    pub file: OwnedFd,
}

impl<T: Transport> Connection<T> {
    /// Passes parts of a VM. They are this process's, too, afterwards.
    ///
    /// # Errors
    /// The connection carries no descriptors, or not in time.
    pub fn pass(&mut self, passed: &[Passed]) -> Result<(), WireError> {
        let deadline = Instant::now() + self.patience;
        self.send(Message::Adopt { parts: passed.iter().map(|one| one.part.clone()).collect() })?;
        let files: Vec<BorrowedFd<'_>> = passed.iter().map(|one| one.file.as_fd()).collect();
        loop {
            self.transport.set_timeout(left(deadline, "the other end to take what is passed")?)?;
            match self.transport.pass(&files) {
                Err(error) if is_transient(error.kind()) => {}
                passed => return Ok(passed?),
            }
        }
    }

    /// Takes the parts that were announced.
    ///
    /// # Errors
    /// They do not come, or not as many, or not in time. What came is closed.
    pub fn take_passed(&mut self, parts: Vec<Part>) -> Result<Vec<Passed>, WireError> {
        let waiting_for = "what is passed";
        let malformed = |what: String| WireError::Malformed { what };
        if !(1..=MAX_PASSED).contains(&parts.len()) {
            return Err(malformed(format!("the names of {} descriptors", parts.len())));
        }
        let deadline = Instant::now() + self.patience;
        let files = loop {
            self.transport.set_timeout(left(deadline, waiting_for)?)?;
            match self.transport.take_passed() {
                Err(error) if is_transient(error.kind()) => {}
                taken => break taken?.ok_or(WireError::Closed { waiting_for })?,
            }
        };
        if files.len() != parts.len() {
            let (came, named) = (files.len(), parts.len());
            return Err(malformed(format!("{came} descriptors for {named} parts")));
        }
        Ok(parts.into_iter().zip(files).map(|(part, file)| Passed { part, file }).collect())
    }
}
