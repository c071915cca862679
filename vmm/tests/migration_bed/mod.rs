//! Two VMMs in one process, and destinations that are none.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod gates;
pub mod liar;
pub mod links;
pub mod risk;

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use migration::engine::{self, DestinationVm, MigrationError};
use stillpoint_guest::{Mode, layout};
use vmm::config::{ReceiveMigrationConfig, SendMigrationConfig};
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

/// The VM runs here, goes on, and finds its memory as it was.
pub fn goes_on(vm: &TestVm) {
    goes_on_as(vm, Mode::Busy);
}

/// The same of a guest in this mode.
pub fn goes_on_as(vm: &TestVm, mode: Mode) {
    assert_eq!(state(vm), Some(VmState::Running));
    vm.await_progress(match mode {
        Mode::Halt => layout::LINE_TICKS,
        Mode::Busy | Mode::Busy0 => layout::LINE_HEARTBEAT,
        Mode::Io => layout::LINE_PIO,
        Mode::Mmio => layout::LINE_MMIO,
    });
    assert_eq!(vm.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
}

/// A guest in this mode that makes progress.
pub fn in_mode(mode: Mode) -> TestVm {
    let tick = if mode == Mode::Halt { 50 } else { 0 };
    TestVm::boot(2, &format!("mode={} tick={tick} quiet", mode.name()))
}

/// Waits at `path` for a migration of one connection, and has it come to the VM that is made of that.
pub fn receive_as<V: DestinationVm>(
    path: &Path,
    vm: impl FnOnce(&UnixStream) -> V + Send + 'static,
) -> JoinHandle<std::result::Result<(), MigrationError>> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (link, _) = listener.accept().unwrap();
        let mut vm = vm(&link);
        let mut link = Some(link);
        let accept = || link.take().ok_or_else(|| std::io::Error::other("one connection"));
        engine::receive(&mut vm, accept, Duration::from_mins(1))
    })
}
