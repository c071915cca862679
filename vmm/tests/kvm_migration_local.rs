//! A VM goes to another VMM on its host with the memory that it has, on real KVM.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod local_relay;
mod migration_bed;

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use embedded::TestVm;
use local_relay::relay;
use migration::engine::{self, DestinationVm, VmError};
use migration::memory::{FileMemory, Layout, Region};
use migration::wire::{Passed, Phase, Rehearsal};
use migration_bed::{Destination, send, state};
use rustix::fs::{FlockOperation, flock};
use stillpoint_guest::layout;
use vmm::config::{
    MemoryRestoreMode, Resolution, ResolveConfig, RestoreConfig, SendMigrationConfig,
    SnapshotConfig,
};
use vmm::control::{VmState, VmmControl};
use vmm::migration::TransferState;

fn local(url: &str) -> SendMigrationConfig {
    SendMigrationConfig { local: true, ..SendMigrationConfig::to(url) }
}

/// Its memory is one and the same on the way, and it is checked by the guest that what it wrote is there.
#[test]
fn a_vm_goes_from_one_vmm_to_the_next_and_on_with_the_memory_that_it_has() {
    let mut vm = TestVm::boot(2, "mode=busy quiet");
    // Its serial port stays where it was first.
    let mut before = Vec::new();
    for _ in 0..5 {
        let destination = Destination::waiting(2, None);
        let info = vm.vmm.send_migration(local(&destination.url)).unwrap();
        assert_eq!((info.iteration, info.remaining_bytes), (0, 0), "{info:?}");
        assert_eq!(state(&vm), None, "nothing is left of it");
        let (arrived, received) = destination.join();
        received.unwrap();
        assert_eq!(state(&arrived), Some(VmState::Running));
        arrived.await_progress(layout::LINE_HEARTBEAT);
        assert_eq!(arrived.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
        before.push(std::mem::replace(&mut vm, arrived));
    }
    // And it can be copied again.
    let destination = Destination::waiting(2, None);
    vm.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    arrived.await_progress(layout::LINE_HEARTBEAT);
    assert_eq!(arrived.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
}

#[test]
fn a_paused_vm_is_paused_there_and_its_memory_is_what_it_was() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    vm.vmm.pause().unwrap();
    let memory = vm.memory();
    let destination = Destination::waiting(1, None);
    vm.vmm.send_migration(local(&destination.url)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    assert_eq!(state(&arrived), Some(VmState::Paused));
    assert!(memory == arrived.memory(), "memory");
    drop(arrived.vmm.resume().unwrap());
    arrived.await_progress(layout::LINE_HEARTBEAT);
}

/// Takes everything, and refuses at a stage.
struct Refuser {
    stage: usize,
    asked: usize,
    memory: Option<FileMemory>,
}

impl Refuser {
    fn ask(&mut self) -> Result<(), VmError> {
        self.asked += 1;
        if self.asked > self.stage { Err("it refuses".into()) } else { Ok(()) }
    }
}

impl DestinationVm for Refuser {
    type Memory = FileMemory;

    fn adopt(&mut self, passed: Vec<Passed>) -> Result<(), VmError> {
        self.ask()?;
        let file = File::from(passed.into_iter().next().unwrap().file);
        let pages = file.metadata()?.len() / 4096;
        let layout =
            migration::memory::Layout::new(vec![migration::memory::Region { gpa: 0, pages }])?;
        self.memory = Some(FileMemory::new(file, layout)?);
        Ok(())
    }

    fn build(&mut self, _: &[u8]) -> Result<(&FileMemory, Option<Rehearsal>), VmError> {
        self.ask()?;
        let memory = self.memory.as_ref().ok_or("nothing was passed")?;
        Ok((memory, None))
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), VmError> {
        self.ask()
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        self.ask()
    }

    fn start(&mut self, _: Phase) -> Result<(), VmError> {
        self.ask()
    }

    fn discard(&mut self) {}
}

#[test]
fn whatever_the_destination_refuses_the_vm_goes_on_with_its_memory() {
    for stage in 0..5 {
        let vm = TestVm::boot(1, "mode=busy quiet");
        vm.vmm.pause().unwrap();
        let memory = vm.memory();
        let path = vm.path("link");
        let listener = UnixListener::bind(&path).unwrap();
        let refusing = std::thread::spawn(move || {
            let mut link = Some(listener.accept().unwrap().0);
            let accept = || link.take().ok_or_else(|| std::io::Error::other("one connection"));
            let mut refuser = Refuser { stage, asked: 0, memory: None };
            let _ = engine::receive(&mut refuser, accept, Duration::from_mins(1));
        });
        let url = format!("unix:{}", path.display());
        let error = vm.vmm.send_migration(local(&url)).unwrap_err().to_string();
        refusing.join().unwrap();
        assert!(error.contains("it refuses"), "{error}");
        assert_eq!(state(&vm), Some(VmState::Paused));
        assert!(memory == vm.memory(), "memory");
        drop(vm.vmm.resume().unwrap());
        vm.await_progress(layout::LINE_HEARTBEAT);
        assert_eq!(vm.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
    }
}

/// Takes a VM, and goes away with the answer.
struct Taker {
    link: UnixStream,
    memory: Option<FileMemory>,
    /// The memory, opened anew.
    own: Arc<OnceLock<File>>,
}

impl DestinationVm for Taker {
    type Memory = FileMemory;

    fn adopt(&mut self, passed: Vec<Passed>) -> Result<(), VmError> {
        let file = File::from(passed.into_iter().next().unwrap().file);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.own.set(File::options().read(true).write(true).open(path)?).unwrap();
        let pages = file.metadata()?.len() / 4096;
        let layout = Layout::new(vec![Region { gpa: 0, pages }])?;
        self.memory = Some(FileMemory::new(file, layout)?);
        Ok(())
    }

    fn build(&mut self, _: &[u8]) -> Result<(&FileMemory, Option<Rehearsal>), VmError> {
        let memory = self.memory.as_ref().ok_or("nothing was passed")?;
        Ok((memory, None))
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), VmError> {
        // The source has it still.
        flock(self.own.get().unwrap(), FlockOperation::NonBlockingLockExclusive).unwrap_err();
        Ok(())
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        Ok(flock(self.own.get().unwrap(), FlockOperation::NonBlockingLockExclusive)?)
    }

    fn start(&mut self, _: Phase) -> Result<(), VmError> {
        Ok(self.link.shutdown(Shutdown::Both)?)
    }

    fn discard(&mut self) {}
}

#[test]
fn in_doubt_a_vm_is_not_kept_whose_memory_the_destination_has() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    let path = vm.path("link");
    let listener = UnixListener::bind(&path).unwrap();
    let own = Arc::new(OnceLock::new());
    let taking = std::thread::spawn({
        let own = Arc::clone(&own);
        move || {
            let link = listener.accept().unwrap().0;
            let mut taker = Taker { link: link.try_clone().unwrap(), memory: None, own };
            let mut link = Some(link);
            let accept = || link.take().ok_or_else(|| std::io::Error::other("one connection"));
            engine::receive(&mut taker, accept, Duration::from_mins(1)).unwrap();
        }
    });
    let url = format!("unix:{}", path.display());
    let error = vm.vmm.send_migration(local(&url)).unwrap_err().to_string();
    assert!(error.contains("resolve the migration with keep"), "{error}");
    taking.join().unwrap();
    let keep = || vm.vmm.migration_resolve(ResolveConfig { resolution: Resolution::Keep });
    let error = keep().unwrap_err().to_string();
    assert!(error.contains("another VMM has taken over the VM's memory"), "{error}");
    // The other one ends.
    drop(own);
    keep().unwrap();
    assert_eq!(state(&vm), Some(VmState::Running));
    vm.await_progress(layout::LINE_HEARTBEAT);
    assert_eq!(vm.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
}

/// Whatever byte the link ends at, or whenever its user cancels: the VM is at one end, with its memory, or stands still and obeys its user's word.
#[test]
fn a_hand_over_that_is_cancelled_or_cut_at_any_moment_leaves_one_vm() {
    let mut vm = TestVm::boot(1, "mode=busy quiet");
    // Its serial port stays where it was first.
    let mut before = Vec::new();
    let destination = Destination::waiting(1, None);
    let bytes = vm.vmm.send_migration(local(&destination.url)).unwrap().done_bytes;
    before.push(std::mem::replace(&mut vm, destination.join().0));
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let rounds = std::env::var("STILLPOINT_MIGRATION_ROUNDS").ok();
    for round in 0..rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(16) {
        let destination = Destination::waiting(1, None);
        let path = destination.vm.path("cut");
        // Most of it is the state; what matters comes before and after it.
        let after = match random(3) {
            0 => random(1000),
            1 => bytes - 40 + random(60),
            _ => random(bytes),
        };
        let link = relay(&path, &destination.url, after);
        let sent = send(&vm, local(&format!("unix:{}", path.display())));
        if random(3) == 0 {
            vm.await_that("it to have begun", |vm| vm.vmm.migration_progress().is_ok());
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
        let what = format!("round {round}, {after} of {bytes} bytes: {sent:?}, {received:?}");
        if in_doubt {
            let resolve = |resolution| vm.vmm.migration_resolve(ResolveConfig { resolution });
            if received.is_ok() {
                resolve(Resolution::Keep).expect_err(&what);
                resolve(Resolution::Drop).unwrap();
            } else {
                resolve(Resolution::Keep).unwrap();
            }
        }
        match (state(&vm), state(&arrived)) {
            (Some(VmState::Running), None) => assert!(received.is_err(), "{what}"),
            (None, Some(VmState::Running)) => {
                assert!(received.is_ok() && (sent.is_ok() || in_doubt), "{what}");
                before.push(std::mem::replace(&mut vm, arrived));
            }
            other => panic!("{what}: {other:?}"),
        }
        vm.await_progress(layout::LINE_HEARTBEAT);
        assert_eq!(vm.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0, "{what}");
    }
}

/// A relay carries bytes, and no descriptors.
#[test]
fn descriptors_that_do_not_come_leave_the_vm_here() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    let destination = Destination::waiting(1, None);
    let relay = vm.path("relay");
    let relaying = migration_bed::cut_link(&relay, &destination.url, u64::MAX);
    let error = vm.vmm.send_migration(local(&format!("unix:{}", relay.display())));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("0 descriptors for 1 parts"), "{error}");
    relaying.join().unwrap();
    vm.await_progress(layout::LINE_HEARTBEAT);
    // Nobody has described a VM: the wait goes on.
    vm.vmm.send_migration(local(&destination.url)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    arrived.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn memory_over_a_snapshots_file_is_not_passed_and_the_error_says_what_to_do() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    let url = format!("file://{}", vm.path("saved").display());
    let snapshot = SnapshotConfig { destination_url: url.clone(), live: false, base_url: None };
    vm.vmm.snapshot(snapshot).unwrap();
    let over = TestVm::none_yet(1);
    let memory_restore_mode = MemoryRestoreMode::Mapped;
    over.vmm
        .restore(RestoreConfig { resume: true, memory_restore_mode, ..RestoreConfig::of(&url) })
        .unwrap();
    let destination = Destination::waiting(1, None);
    let error = over.vmm.send_migration(local(&destination.url)).unwrap_err().to_string();
    assert!(error.contains("migrate it without local"), "{error}");
    over.await_progress(layout::LINE_HEARTBEAT);
    over.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
    destination.join().1.unwrap();
}
