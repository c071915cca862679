//! What a VM needs of its host and does not find when it is restored or received: the error names it, nothing is left of the VM there, and a
//! source goes on with all that it had.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use embedded::TestVm;
use migration_bed::{Destination, state};
use stillpoint_guest::layout;
use vmm::config::{
    ConsoleConfig, ConsoleMode, DiskConfig, SendMigrationConfig, SnapshotConfig, VsockConfig,
};
use vmm::control::{ControlError, VmState, VmmControl};

/// What the VM has of its host, in a directory.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A VM with a disk, a socket device, a serial port on a socket and a console in a file.
    fn vm(&self) -> TestVm {
        std::fs::create_dir(self.path("console")).unwrap();
        File::create(self.path("disk")).unwrap().set_len(1 << 20).unwrap();
        let mut config = embedded::config(1, "mode=busy quiet");
        config.disks = vec![DiskConfig::of_path(self.path("disk"))];
        config.vsock = Some(VsockConfig { cid: 5, socket: self.path("vsock"), id: None });
        config.console = ConsoleConfig {
            file: Some(self.path("console").join("log")),
            ..ConsoleConfig::of_mode(ConsoleMode::File)
        };
        let serial = self.path("serial");
        let vm = TestVm::with(config, |_| ConsoleConfig {
            socket: Some(serial),
            ..ConsoleConfig::of_mode(ConsoleMode::Socket)
        });
        vm.start();
        vm
    }
}

fn restore(vm: &TestVm, path: &Path) -> Result<(), ControlError> {
    let source_url = format!("file://{}", path.display());
    let config = serde_json::json!({"source_url": source_url, "resume": true});
    vm.vmm.restore(serde_json::from_value(config).unwrap())
}

#[test]
fn what_a_restored_vm_does_not_find_on_its_host_is_named_and_nothing_is_left() {
    let host = Host { dir: tempfile::tempdir().unwrap() };
    let vm = host.vm();
    let snapshot = host.path("snapshot");
    let destination_url = format!("file://{}", snapshot.display());
    vm.vmm.snapshot(SnapshotConfig { destination_url, live: false, base_url: None }).unwrap();
    // The VM is there, and has all of it.
    let none = TestVm::none_yet(1);
    let error = restore(&none, &snapshot).unwrap_err().to_string();
    assert!(error.contains("serial") && error.contains("in use"), "{error}");
    vm.await_progress(layout::LINE_HEARTBEAT);
    UnixStream::connect(host.path("serial")).unwrap();
    vm.vmm.delete().unwrap();

    let disk = std::fs::read(host.path("disk")).unwrap();
    let refused = |named: &str| {
        let error = restore(&none, &snapshot).unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
        assert!(matches!(none.vmm.info(), Err(ControlError::NotCreated)));
    };
    std::fs::remove_file(host.path("disk")).unwrap();
    refused("disk");
    std::fs::write(host.path("disk"), &disk[..disk.len() / 2]).unwrap();
    refused("disk");
    std::fs::write(host.path("disk"), &disk).unwrap();
    std::fs::rename(host.path("console"), host.path("away")).unwrap();
    refused("console");
    std::fs::rename(host.path("away"), host.path("console")).unwrap();
    for name in ["vsock", "serial"] {
        let listener = UnixListener::bind(host.path(name)).unwrap();
        let error = restore(&none, &snapshot).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        // It is still theirs who had it.
        UnixStream::connect(host.path(name)).unwrap();
        drop(listener);
        std::fs::remove_file(host.path(name)).unwrap();
    }
    restore(&none, &snapshot).unwrap();
    none.await_progress(layout::LINE_HEARTBEAT);
    UnixStream::connect(host.path("serial")).unwrap();
}

#[test]
fn a_destination_that_does_not_find_it_leaves_the_source_all_that_it_had() {
    let host = Host { dir: tempfile::tempdir().unwrap() };
    let vm = host.vm();
    for is_paused in [false, true] {
        if is_paused {
            vm.vmm.pause().unwrap();
        }
        // On one host the source has the sockets.
        let destination = Destination::waiting(1, None);
        let sent = vm.vmm.send_migration(SendMigrationConfig::to(&destination.url));
        let error = sent.unwrap_err().to_string();
        assert!(error.contains("vsock") || error.contains("serial"), "{error}");
        let (none, received) = destination.join();
        received.unwrap_err();
        assert!(matches!(none.vmm.info(), Err(ControlError::NotCreated)));
        let expected = if is_paused { VmState::Paused } else { VmState::Running };
        assert_eq!(state(&vm), Some(expected));
        for name in ["vsock", "serial"] {
            UnixStream::connect(host.path(name)).unwrap();
        }
    }
    drop(vm.vmm.resume().unwrap());
    vm.await_progress(layout::LINE_HEARTBEAT);
    // The lock of its disk, too.
    let mut other = embedded::config(1, "");
    other.disks = vec![DiskConfig::of_path(host.path("disk"))];
    let thief = TestVm::with(other, |_| ConsoleConfig::of_mode(ConsoleMode::Null));
    let error = thief.vmm.boot().unwrap_err().to_string();
    assert!(error.contains("disk"), "{error}");
}
