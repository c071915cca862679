//! Two VMMs in one process, and destinations that are none.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use migration::engine::{self, DestinationVm, VmError};
use migration::memory::{FileMemory, Layout, PAGE_SIZE, Region};
use migration::wire::{Phase, Rehearsal};
use vmm::config::{ReceiveMigrationConfig, SendMigrationConfig, VmConfig};
use vmm::control::{ControlError, VmState, VmmControl};

use crate::embedded::TestVm;

/// What a thread that sends or receives came to.
pub type Result = std::result::Result<(), ControlError>;

/// A VMM that waits for a VM.
pub struct Destination {
    pub vm: TestVm,
    pub url: String,
    pub received: JoinHandle<Result>,
}

impl Destination {
    /// Returns when it listens, on a socket in its own directory or where the URL says.
    pub fn waiting(vcpus: u32, url: Option<&str>) -> Self {
        let vm = TestVm::none_yet(vcpus);
        let own = format!("unix:{}", vm.path("link").display());
        let config = ReceiveMigrationConfig::on(url.unwrap_or(&own));
        let (listens, listening) = channel();
        let vmm = std::sync::Arc::clone(&vm.vmm);
        let received = std::thread::spawn(move || {
            // The other side waits for it.
            vmm.receive_migration(config, &|url| drop(listens.send(url.to_string())))
        });
        let url = listening.recv().unwrap();
        Self { vm, url, received }
    }

    /// The VM, if it came.
    pub fn join(self) -> (TestVm, Result) {
        let received = self.received.join().unwrap();
        (self.vm, received)
    }
}

/// Sends, on a thread of its own.
pub fn send(vm: &TestVm, config: SendMigrationConfig) -> JoinHandle<Result> {
    let vmm = std::sync::Arc::clone(&vm.vmm);
    std::thread::spawn(move || vmm.send_migration(config).map(drop))
}

pub fn state(vm: &TestVm) -> Option<VmState> {
    vm.vmm.info().ok().map(|info| info.state)
}

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
    fn unless(&self, lie: Lie) -> std::result::Result<(), VmError> {
        if self.lie == lie { Err(format!("it is told: {lie:?}").into()) } else { Ok(()) }
    }
}

impl DestinationVm for Liar {
    type Memory = FileMemory;

    fn build(
        &mut self,
        config: &[u8],
    ) -> std::result::Result<(&FileMemory, Option<Rehearsal>), VmError> {
        self.unless(Lie::RefusesToBuild)?;
        let config: VmConfig = serde_json::from_slice(config)?;
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = File::from(rustix::fs::memfd_create("memory", flags)?);
        file.set_len(config.memory.size)?;
        let pages = config.memory.size / PAGE_SIZE as u64;
        let layout = Layout::new(vec![Region { gpa: 0, pages }])?;
        Ok((self.memory.insert(FileMemory::new(file, layout)?), None))
    }

    fn restore(&mut self, state: &[u8]) -> std::result::Result<(), VmError> {
        assert!(!state.is_empty());
        self.unless(Lie::RefusesState)
    }

    fn take_disks(&mut self) -> std::result::Result<(), VmError> {
        if self.lie == Lie::Goes {
            self.link.shutdown(Shutdown::Both)?;
            self.unless(Lie::Goes)?;
        }
        self.unless(Lie::RefusesDisks)
    }

    fn start(&mut self, _: Phase) -> std::result::Result<(), VmError> {
        if self.lie == Lie::TakesAndGoes {
            self.link.shutdown(Shutdown::Both)?;
        }
        self.unless(Lie::RefusesToStart)
    }

    fn discard(&mut self) {}
}

/// Waits for one VM on this socket, and lies.
pub fn lie(path: &Path, lie: Lie) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (link, _) = listener.accept().unwrap();
        let mut liar = Liar { lie, memory: None, link: link.try_clone().unwrap() };
        let mut link = Some(link);
        let accept = || link.take().ok_or_else(|| std::io::Error::other("one connection"));
        let _ = engine::receive(&mut liar, accept, Duration::from_mins(1));
    })
}

/// Carries bytes between a source, which connects to `path`, and a destination, until so many have gone there.
pub fn cut_link(path: &Path, to: &str, after: u64) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let to = to.strip_prefix("unix:").unwrap().to_owned();
    std::thread::spawn(move || {
        let (here, _) = listener.accept().unwrap();
        let there = UnixStream::connect(to).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Ends when either end is shut down.
                let _ = std::io::copy(&mut &there, &mut &here);
            });
            let mut left = after;
            let mut piece = vec![0; 1 << 16];
            while left > 0 {
                let most = usize::try_from(left.min(1 << 16)).unwrap();
                match (&here).read(&mut piece[..most]) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => {
                        if (&there).write_all(&piece[..read]).is_err() {
                            break;
                        }
                        left -= read as u64;
                    }
                }
            }
            let _ = (here.shutdown(Shutdown::Both), there.shutdown(Shutdown::Both));
        });
    })
}
