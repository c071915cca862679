//! A destination that has no VM: it takes everything that it is given, and refuses or goes away where it is told to.

use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;

use migration::engine::{DestinationVm, MigrationError, VmError};
use migration::memory::{FileMemory, Layout, PAGE_SIZE, Region};
use migration::wire::{Phase, Rehearsal};
use vmm::config::VmConfig;

use super::receive_as;

/// What a destination that is none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Has no room for such a VM.
    RefusesToBuild,
    /// Does not understand its state.
    RefusesState,
    /// Somebody has the disks.
    RefusesDisks,
    /// Does not start it.
    RefusesToStart,
    /// Takes everything, and goes away with the answer.
    TakesAndGoes,
    /// Goes away when it has the commit, without the VM.
    Goes,
}

impl Lie {
    pub const ALL: [Self; 6] = [
        Self::RefusesToBuild,
        Self::RefusesState,
        Self::RefusesDisks,
        Self::RefusesToStart,
        Self::TakesAndGoes,
        Self::Goes,
    ];

    /// Whether nobody at the source can know whose the VM is.
    pub fn leaves_doubt(self) -> bool {
        matches!(self, Self::TakesAndGoes | Self::Goes)
    }
}

struct Liar {
    lie: Lie,
    memory: Option<FileMemory>,
    link: UnixStream,
}

impl Liar {
    fn unless(&self, lie: Lie) -> Result<(), VmError> {
        if self.lie == lie { Err(format!("it is told: {lie:?}").into()) } else { Ok(()) }
    }
}

impl DestinationVm for Liar {
    type Memory = FileMemory;

    fn build(&mut self, config: &[u8]) -> Result<(&FileMemory, Option<Rehearsal>), VmError> {
        self.unless(Lie::RefusesToBuild)?;
        let config: VmConfig = serde_json::from_slice(config)?;
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = File::from(rustix::fs::memfd_create("memory", flags)?);
        file.set_len(config.memory.size)?;
        let pages = config.memory.size / PAGE_SIZE as u64;
        let layout = Layout::new(vec![Region { gpa: 0, pages }])?;
        Ok((self.memory.insert(FileMemory::new(file, layout)?), None))
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), VmError> {
        assert!(!state.is_empty());
        self.unless(Lie::RefusesState)
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        if self.lie == Lie::Goes {
            self.link.shutdown(Shutdown::Both)?;
            self.unless(Lie::Goes)?;
        }
        self.unless(Lie::RefusesDisks)
    }

    fn start(&mut self, _: Phase) -> Result<(), VmError> {
        if self.lie == Lie::TakesAndGoes {
            self.link.shutdown(Shutdown::Both)?;
        }
        self.unless(Lie::RefusesToStart)
    }

    fn discard(&mut self) {}
}

/// Waits for one VM on this socket, and lies.
pub fn lie(path: &Path, lie: Lie) -> JoinHandle<Result<(), MigrationError>> {
    receive_as(path, move |link| Liar { lie, memory: None, link: link.try_clone().unwrap() })
}
