//! Migrations between two VMMs of one process, on real KVM: the VM is at one end, as it was, whatever happens on the way.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use embedded::TestVm;
use migration_bed::liar::{Lie, lie};
use migration_bed::links::{Carries, cut_link};
use migration_bed::risk::{self, Shown, User};
use migration_bed::{Destination, goes_on, goes_on_as, in_mode, send, state};
use stillpoint_guest::Mode;
use vmm::config::{
    DiskConfig, PageCompression, ResizeConfig, Resolution, ResolveConfig, SendMigrationConfig,
    SnapshotConfig, TimeoutStrategy,
};
use vmm::control::{ControlError, Ended, VmState, VmmControl};
use vmm::migration::TransferState;

fn busy(vcpus: u32) -> TestVm {
    TestVm::boot(vcpus, "mode=busy quiet")
}

#[test]
fn a_running_vm_goes_on_at_the_other_end() {
    for mode in Mode::ALL {
        let vm = in_mode(mode);
        let destination = Destination::waiting(2, None);
        vm.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
        assert_eq!(state(&vm), None, "nothing is left of it");
        let (arrived, received) = destination.join();
        received.unwrap();
        goes_on_as(&arrived, mode);
        let info = vm.vmm.migration_progress().unwrap();
        assert_eq!(info.state, TransferState::Completed);
        assert!(info.downtime.is_some_and(|downtime| downtime.total_us > 0), "{info:?}");
    }
}

#[test]
fn a_vm_is_carried_over_tcp_many_connections_and_packed_and_back_again() {
    let mut vm = busy(2);
    // Its serial port stays where it was first.
    let mut before = Vec::new();
    for compression in [PageCompression::None, PageCompression::Lz4, PageCompression::Zstd] {
        let destination = Destination::waiting(2, Some("tcp:127.0.0.1:0"));
        let config = SendMigrationConfig {
            connections: 3,
            compression,
            timeout_strategy: TimeoutStrategy::Throttle,
            ..SendMigrationConfig::to(&destination.url)
        };
        vm.vmm.send_migration(config).unwrap();
        let (arrived, received) = destination.join();
        received.unwrap();
        goes_on(&arrived);
        before.push(std::mem::replace(&mut vm, arrived));
    }
}

#[test]
fn a_paused_vm_is_paused_there_and_its_memory_is_what_it_was() {
    let vm = busy(1);
    vm.vmm.pause().unwrap();
    let memory = vm.memory();
    let destination = Destination::waiting(1, None);
    vm.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    assert_eq!(state(&arrived), Some(VmState::Paused));
    assert!(memory == arrived.memory(), "memory");
    drop(arrived.vmm.resume().unwrap());
    goes_on(&arrived);
}

#[test]
fn whatever_the_destination_refuses_the_vm_is_as_it_was_or_in_doubt_until_its_user_says() {
    for paused in [false, true] {
        for which in Lie::ALL {
            let vm = busy(1);
            if paused {
                vm.vmm.pause().unwrap();
            }
            let before = if paused { VmState::Paused } else { VmState::Running };
            let path = vm.path("link");
            let liar = lie(&path, which);
            let config = SendMigrationConfig::to(&format!("unix:{}", path.display()));
            let error = vm.vmm.send_migration(config).unwrap_err().to_string();
            // Told by its other end.
            let _ = liar.join().unwrap();
            if which.leaves_doubt() {
                assert!(error.contains("keep (it does not) or drop (it does)"), "{error}");
                in_doubt(&vm, which);
            } else {
                assert!(error.contains(&format!("it is told: {which:?}")), "{error}");
                let resolve = ResolveConfig { resolution: Resolution::Drop };
                let refused = vm.vmm.migration_resolve(resolve);
                assert!(matches!(refused, Err(ControlError::NotInDoubt)));
            }
            if which == Lie::TakesAndGoes {
                assert_eq!(state(&vm), None, "it was dropped");
                continue;
            }
            assert_eq!(state(&vm), Some(before), "{which:?}");
            if paused {
                drop(vm.vmm.resume().unwrap());
            }
            goes_on(&vm);
        }
    }
}

/// Nothing moves it, its user learns why, and it is kept or dropped.
fn in_doubt(vm: &TestVm, which: Lie) {
    assert_eq!(state(vm), Some(VmState::Paused));
    let lines = vm.all_lines();
    let refused = [
        vm.vmm.pause(),
        vm.vmm.resume().map(drop),
        vm.vmm.reboot(),
        vm.vmm.nmi(),
        vm.vmm.snapshot(SnapshotConfig {
            destination_url: format!("file://{}", vm.path("snapshot").display()),
            live: false,
            base_url: None,
        }),
        vm.vmm.send_migration(SendMigrationConfig::to("unix:/nowhere")).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, ControlError::InDoubt), "{error}");
    }
    let info = vm.vmm.info().unwrap();
    assert!(info.last_error.is_some_and(|error| error.contains("resolve")));
    assert_eq!(vm.vmm.migration_progress().unwrap().state, TransferState::InDoubt);
    assert_eq!(lines, vm.all_lines(), "it stands still");
    let resolution = if which == Lie::TakesAndGoes { Resolution::Drop } else { Resolution::Keep };
    vm.vmm.migration_resolve(ResolveConfig { resolution }).unwrap();
    let expected = match resolution {
        Resolution::Keep => TransferState::Failed,
        Resolution::Drop => TransferState::Completed,
    };
    assert_eq!(vm.vmm.migration_progress().unwrap().state, expected);
}

/// A destination that listens and never says a word.
fn mute(vm: &TestVm) -> (std::os::unix::net::UnixListener, SendMigrationConfig) {
    let path = vm.path("mute");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    (listener, SendMigrationConfig::to(&format!("unix:{}", path.display())))
}

fn await_under_way(vm: &TestVm) {
    vm.await_that("the migration to be under way", |vm| {
        vm.vmm.migration_progress().is_ok_and(|info| !info.state.is_final())
    });
}

#[test]
fn meanwhile_the_vm_is_its_users_but_for_what_would_change_it() {
    let vm = busy(1);
    let (_listener, config) = mute(&vm);
    let sent = send(&vm, config.clone());
    await_under_way(&vm);
    let refused = [
        vm.vmm.add_disk(DiskConfig::of_path("/x")).map(drop),
        vm.vmm.remove_device("x"),
        vm.vmm.resize(ResizeConfig { desired_balloon: Some(0), ..ResizeConfig::default() }),
        vm.vmm.send_migration(config).map(drop),
        vm.vmm.snapshot(SnapshotConfig {
            destination_url: format!("file://{}", vm.path("snapshot").display()),
            live: false,
            base_url: None,
        }),
    ];
    for refused in refused {
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with("the VM is being migrated: "), "{error}");
    }
    vm.vmm.pause().unwrap();
    assert_eq!(state(&vm), Some(VmState::Paused));
    drop(vm.vmm.resume().unwrap());
    vm.vmm.nmi().unwrap();
    goes_on(&vm);
    vm.vmm.migration_cancel().unwrap();
    let error = sent.join().unwrap().unwrap_err();
    assert!(matches!(error, ControlError::Cancelled(_)), "{error}");
    goes_on(&vm);
    assert_eq!(vm.vmm.migration_progress().unwrap().state, TransferState::Cancelled);
    assert!(matches!(vm.vmm.migration_cancel(), Err(ControlError::NoTransfer)));
}

#[test]
fn the_end_of_the_vm_is_the_end_of_its_migration() {
    type End = fn(&TestVm) -> Result<(), ControlError>;
    let ends: [(End, Option<VmState>); 4] = [
        (|vm| vm.vmm.shutdown(), Some(VmState::Shutdown)),
        (|vm| vm.vmm.delete(), None),
        (|vm| vm.vmm.reboot(), Some(VmState::Running)),
        (|vm| vm.vmm.vmm_shutdown(), Some(VmState::Shutdown)),
    ];
    for (end, then) in ends {
        let vm = busy(1);
        let (_listener, config) = mute(&vm);
        let sent = send(&vm, config);
        await_under_way(&vm);
        end(&vm).unwrap();
        let error = sent.join().unwrap().unwrap_err();
        assert!(matches!(error, ControlError::Cancelled(_) | ControlError::Stopping), "{error}");
        assert_eq!(state(&vm), then);
        if then == Some(VmState::Running) {
            vm.await_up();
            goes_on(&vm);
        }
    }
}

#[test]
fn who_waits_for_a_vm_can_be_ended_and_wait_again() {
    type End = fn(&TestVm) -> Result<(), ControlError>;
    let ends: [End; 3] = [
        |vm| vm.vmm.migration_cancel(),
        |vm| {
            vm.vmm.delete().or_else(|error| match error {
                // It waited until there was nothing to delete.
                ControlError::NotCreated => Ok(()),
                error => Err(error),
            })
        },
        |vm| vm.vmm.vmm_shutdown(),
    ];
    for end in ends {
        let destination = Destination::waiting(1, None);
        let refused = destination.vm.vmm.create(embedded::config(1, ""));
        assert!(matches!(refused, Err(ControlError::AlreadyCreated)));
        // Somebody who brings nothing does not end the wait.
        let path = destination.url.strip_prefix("unix:").unwrap();
        drop(std::os::unix::net::UnixStream::connect(path).unwrap());
        end(&destination.vm).unwrap();
        let (vm, received) = destination.join();
        let error = received.unwrap_err();
        assert!(matches!(error, ControlError::Cancelled(_) | ControlError::Stopping), "{error}");
        assert_eq!(state(&vm), None);
    }
    let destination = Destination::waiting(1, None);
    let vm = busy(1);
    vm.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    goes_on(&arrived);
}

#[test]
fn a_migration_that_is_cancelled_or_cut_at_any_moment_leaves_one_vm() {
    let mut vm = busy(1);
    // Its serial port stays where it was first.
    let mut before = Vec::new();
    let destination = Destination::waiting(1, None);
    vm.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
    let bytes = vm.vmm.migration_progress().unwrap().done_bytes;
    before.push(std::mem::replace(&mut vm, destination.join().0));
    let mut random = risk::random(0x9e37_79b9_7f4a_7c15);
    for round in 0..risk::rounds(12) {
        let destination = Destination::waiting(1, None);
        let path = destination.vm.path("cut");
        let after = random(bytes + bytes / 4);
        let link = cut_link(&path, &destination.url, after, Carries::Bytes);
        let user = if random(3) == 0 { User::Cancels } else { User::Waits };
        let config = SendMigrationConfig::to(&format!("unix:{}", path.display()));
        let what = format!("round {round}, {after} of {bytes} bytes");
        let how = (Shown::ByNothing, &*what);
        if let Some(arrived) = risk::migrate(&vm, (destination, link), (config, user), how) {
            before.push(std::mem::replace(&mut vm, arrived));
        }
    }
}

#[test]
fn a_vmm_that_ends_with_its_vm_ends_when_that_has_moved() {
    let options = vmm::control::VmmOptions {
        vm_end: vmm::control::VmEnd::VmmEnds,
        ..vmm::control::VmmOptions::default()
    };
    let serial =
        |_: &std::path::Path| vmm::config::ConsoleConfig::of_mode(vmm::config::ConsoleMode::Null);
    let mut vm = TestVm::with_options(embedded::config(1, "mode=busy quiet"), serial, options);
    vm.start();
    let destination = Destination::waiting(1, None);
    let url = destination.url.clone();
    vm.vmm.send_migration(SendMigrationConfig::to(&url)).unwrap();
    assert_eq!(vm.thread.take().unwrap().wait(), Ended::Moved(url));
    let (arrived, received) = destination.join();
    received.unwrap();
    goes_on(&arrived);
}
