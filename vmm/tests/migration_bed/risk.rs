//! Migrations that are cut or cancelled at any moment: the VM is at one end afterwards, whichever.

use std::thread::JoinHandle;

use vmm::config::{Resolution, ResolveConfig, SendMigrationConfig};
use vmm::control::{VmState, VmmControl};
use vmm::migration::TransferState;

use super::{Destination, goes_on, send, state};
use crate::embedded::TestVm;

/// Numbers below a bound, from a seed.
pub fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

/// How often; a long run asks for more.
pub fn rounds(usual: u32) -> u32 {
    let long = std::env::var("STILLPOINT_MIGRATION_ROUNDS").ok();
    long.and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// What its user does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    Waits,
    Cancels,
}

/// What shows that the destination has a VM that the source is in doubt about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing: its user looks.
    ByNothing,
    /// Its memory, which is not given back.
    ByMemory,
}

/// Sends the VM over the link, which may end at any byte. If it came to the other end it is returned.
pub fn migrate(
    vm: &TestVm,
    (destination, link): (Destination, JoinHandle<()>),
    (config, user): (SendMigrationConfig, User),
    (shown, what): (Shown, &str),
) -> Option<TestVm> {
    let sent = send(vm, config);
    if user == User::Cancels {
        vm.await_that("the migration to have begun", |vm| vm.vmm.migration_progress().is_ok());
        // Too late, or nothing there any more: as good as any other moment.
        let _ = vm.vmm.migration_cancel();
    }
    let sent = sent.join().unwrap();
    link.join().unwrap();
    let in_doubt = vm.vmm.migration_progress().unwrap().state == TransferState::InDoubt;
    if sent.is_err() && destination.vm.vmm.info().is_err() {
        // Whoever waits at the other end of a link that was cut learns of it.
        let _ = destination.vm.vmm.migration_cancel();
    }
    let (arrived, received) = destination.join();
    let what = format!("{what}: {sent:?}, {received:?}");
    if in_doubt {
        let resolve = |resolution| vm.vmm.migration_resolve(ResolveConfig { resolution });
        if received.is_err() {
            resolve(Resolution::Keep).unwrap();
        } else {
            if shown == Shown::ByMemory {
                assert!(resolve(Resolution::Keep).is_err(), "{what}");
            }
            resolve(Resolution::Drop).unwrap();
        }
    }
    match (state(vm), state(&arrived)) {
        (Some(VmState::Running), None) => {
            assert!(received.is_err(), "{what}");
            goes_on(vm);
            None
        }
        (None, Some(VmState::Running)) => {
            assert!(received.is_ok() && (sent.is_ok() || in_doubt), "{what}");
            goes_on(&arrived);
            Some(arrived)
        }
        other => panic!("{what}: {other:?}"),
    }
}
