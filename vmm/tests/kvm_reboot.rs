//! A reboot is in place: what the VM has of the host stays its own all the while.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use embedded::{TestVm, config};
use vcpu_state::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use vmm::config::{ConsoleConfig, ConsoleMode, DiskConfig, VmConfig, VsockConfig};
use vmm::control::VmmControl;

const REBOOTS: u32 = 8;
/// Somebody looks at each of them at least so often.
const LOOKS: u32 = 3;

fn with_disk(image: &Path) -> VmConfig {
    VmConfig { disks: vec![DiskConfig::of_path(image)], ..config(2, "mode=busy quiet") }
}

fn null(_: &Path) -> ConsoleConfig {
    ConsoleConfig::of_mode(ConsoleMode::Null)
}

/// Tells that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nobody_gets_the_image_or_the_socket_of_a_vm_that_reboots() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let socket = dir.path().join("vsock");
    let vsock: VsockConfig = format!("cid=3,socket={}", socket.display()).parse().unwrap();
    let vm = TestVm::with(VmConfig { vsock: Some(vsock), ..with_disk(&image) }, null);
    vm.start();
    let inode = || std::fs::metadata(&socket).unwrap().ino();
    let made = inode();

    let (is_over, looks) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // Also when this thread fails: the other one would look on for ever.
        let _over = Over(&is_over);
        let thief = scope.spawn(|| {
            let other = TestVm::with(with_disk(&image), null);
            while !is_over.load(Ordering::Relaxed) {
                let refused = other.vmm.boot().map_err(|error| error.to_string());
                let why = refused.expect_err("the image has two users");
                assert!(why.contains("in use by another VM or process"), "{why}");
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..REBOOTS {
            let before = looks.load(Ordering::Relaxed);
            vm.vmm.reboot().unwrap();
            vm.await_up();
            vm.await_that("somebody having looked", |_| {
                thief.is_finished() || looks.load(Ordering::Relaxed) >= before + LOOKS
            });
            assert_eq!(inode(), made, "the socket was made anew");
            // This guest has no driver: it waits until somebody takes it.
            UnixStream::connect(&socket).unwrap();
        }
    });
}
