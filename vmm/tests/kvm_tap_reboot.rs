//! A reboot, the guest's own or one that is asked for, is nothing to the host's network: the tap stays attached to the VM.
//!
//! The tap is not persistent: it would be gone, and another come, if the VM let go of it for a moment. Were it persistent, its
//! carrier would change. Both are among what the kernel tells of links, as is every other change of them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its premise fails")]

mod embedded;
mod taps;

use std::path::Path;
use std::process::Command;

use embedded::{Screen, TestVm, config};
use taps::{Link, Links, in_namespace};
use vcpu_state::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use vmm::config::{ConsoleConfig, ConsoleMode, NetConfig, VmConfig};
use vmm::control::VmmControl;

const TAP: &str = "kept";
const REBOOTS: u32 = 8;
/// Another VM tries to get the tap at least so often in each of them.
const TRIES: u32 = 3;

fn with_card(pairs: u32) -> VmConfig {
    let card =
        NetConfig { tap: Some(TAP.to_owned()), num_queues: 2 * pairs, ..NetConfig::default() };
    VmConfig { net: vec![card], ..config(2, "mode=halt") }
}

fn on_socket(dir: &Path) -> ConsoleConfig {
    let socket = Some(dir.join("serial"));
    ConsoleConfig { mode: ConsoleMode::Socket, file: None, socket, id: None }
}

/// Tells that it is over when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Half of the reboots are the guest's own resets, half are asked for.
fn reboots(vm: &TestVm, tries: &AtomicU32, thief_failed: impl Fn() -> bool) {
    let mut screen = Screen::connect(&vm.serial());
    screen.wait_for(" vCPUs up");
    for round in 0..REBOOTS {
        let before = tries.load(Ordering::Relaxed);
        if round % 2 == 0 {
            screen.press(b'r');
            screen.wait_for("reboot\r\n");
        } else {
            vm.vmm.reboot().unwrap();
        }
        screen.wait_for(" vCPUs up");
        vm.await_up();
        vm.await_that("somebody having tried", |_| {
            thief_failed() || tries.load(Ordering::Relaxed) >= before + TRIES
        });
    }
}

/// What the kernel tells of the tap during reboots: the states before and after, and all in between.
fn told_of_reboots(pairs: u32) -> (Link, Vec<Link>) {
    let vm = TestVm::with(with_card(pairs), on_socket);
    vm.vmm.boot().unwrap();
    let links = Links::new();
    let before = links.until_noted(TAP, "before").pop().unwrap();
    let (is_over, tries) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        // Also when this thread fails: the other one would try on for ever.
        let _over = Over(&is_over);
        let thief = scope.spawn(|| {
            let other = TestVm::with(with_card(pairs), on_socket);
            while !is_over.load(Ordering::Relaxed) {
                let refused = other.vmm.boot().map_err(|error| error.to_string());
                let why = refused.expect_err("the tap has two users");
                assert!(why.contains("in use by another process"), "{why}");
                tries.fetch_add(1, Ordering::Relaxed);
            }
        });
        reboots(&vm, &tries, || thief.is_finished());
    });
    (before, links.until_noted(TAP, "after"))
}

fn verify_steady(pairs: u32) {
    let (before, told) = told_of_reboots(pairs);
    assert!(before.has_carrier && !before.is_gone, "{before:?}");
    for link in &told {
        assert_eq!(Link { alias: before.alias.clone(), ..link.clone() }, before, "{told:?}");
    }
}

#[test]
fn a_tap_of_one_queue_stays_attached_over_reboots() {
    in_namespace(|| verify_steady(1));
}

#[test]
fn a_tap_of_several_queues_stays_attached_over_reboots() {
    in_namespace(|| verify_steady(2));
}

/// The tests above would fail if a VM let go of its tap: here it does.
#[test]
fn what_another_boot_does_to_a_tap_is_told() {
    in_namespace(|| {
        let made = Command::new("ip").args(["tuntap", "add", "dev", TAP, "mode", "tap"]).output();
        assert!(made.expect("ip(8)").status.success());
        let vm = TestVm::with(with_card(1), on_socket);
        vm.vmm.boot().unwrap();
        let links = Links::new();
        let before = links.until_noted(TAP, "before").pop().unwrap();
        vm.vmm.shutdown().unwrap();
        vm.vmm.boot().unwrap();
        let after = links.until_noted(TAP, "after").pop().unwrap();
        assert_eq!(after.index, before.index);
        assert!(after.carrier_changes > before.carrier_changes, "{before:?}, {after:?}");
    });
}
