//! A VM goes to another VMM on its host with the memory that it has, on real KVM.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use std::fs::File;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

use embedded::TestVm;
use migration::engine::{Adoption, DestinationVm, VmError};
use migration::memory::{FileMemory, Layout, PAGE_SIZE, Region};
use migration::wire::{Phase, Rehearsal};
use migration_bed::links::{Carries, cut_link};
use migration_bed::risk::{self, Shown, User};
use migration_bed::{Destination, goes_on, receive_as, state};
use rustix::fs::{FlockOperation, flock};
use vmm::config::{
    MemoryRestoreMode, Resolution, ResolveConfig, RestoreConfig, SendMigrationConfig,
    SnapshotConfig,
};
use vmm::control::{VmState, VmmControl};

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
        goes_on(&arrived);
        before.push(std::mem::replace(&mut vm, arrived));
    }
    // And it can be copied again.
    let destination = Destination::waiting(2, None);
    vm.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    goes_on(&arrived);
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
    goes_on(&arrived);
}

/// All of a file, as the memory of a VM.
fn memory_in(file: File) -> Result<FileMemory, VmError> {
    let pages = file.metadata()?.len() / PAGE_SIZE as u64;
    Ok(FileMemory::new(file, Layout::new(vec![Region { gpa: 0, pages }])?)?)
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

    fn adopt(&mut self, adoption: Adoption) -> Result<(), VmError> {
        self.ask()?;
        self.memory = Some(memory_in(adoption.memory.into())?);
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
        let refusing = receive_as(&path, move |_| Refuser { stage, asked: 0, memory: None });
        let url = format!("unix:{}", path.display());
        let error = vm.vmm.send_migration(local(&url)).unwrap_err().to_string();
        refusing.join().unwrap().unwrap_err();
        assert!(error.contains("it refuses"), "{error}");
        assert_eq!(state(&vm), Some(VmState::Paused));
        assert!(memory == vm.memory(), "memory");
        drop(vm.vmm.resume().unwrap());
        goes_on(&vm);
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

    fn adopt(&mut self, adoption: Adoption) -> Result<(), VmError> {
        let file = File::from(adoption.memory);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.own.set(File::options().read(true).write(true).open(path)?).unwrap();
        self.memory = Some(memory_in(file)?);
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
    let own = Arc::new(OnceLock::new());
    let taking = receive_as(&path, {
        let own = Arc::clone(&own);
        move |link| Taker { link: link.try_clone().unwrap(), memory: None, own }
    });
    let url = format!("unix:{}", path.display());
    let error = vm.vmm.send_migration(local(&url)).unwrap_err().to_string();
    assert!(error.contains("resolve the migration with keep"), "{error}");
    taking.join().unwrap().unwrap();
    let keep = || vm.vmm.migration_resolve(ResolveConfig { resolution: Resolution::Keep });
    let error = keep().unwrap_err().to_string();
    assert!(error.contains("another VMM has taken over the VM's memory"), "{error}");
    // The other one ends.
    drop(own);
    keep().unwrap();
    goes_on(&vm);
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
    let mut random = risk::random(0x2545_f491_4f6c_dd1d);
    for round in 0..risk::rounds(16) {
        let destination = Destination::waiting(1, None);
        let path = destination.vm.path("cut");
        // Most of it is the state; what matters comes before and after it.
        let after = match random(3) {
            0 => random(1000),
            1 => bytes - 40 + random(60),
            _ => random(bytes),
        };
        let link = cut_link(&path, &destination.url, after, Carries::Descriptors);
        let user = if random(3) == 0 { User::Cancels } else { User::Waits };
        let config = local(&format!("unix:{}", path.display()));
        let what = format!("round {round}, {after} of {bytes} bytes");
        let how = (Shown::ByMemory, &*what);
        if let Some(arrived) = risk::migrate(&vm, (destination, link), (config, user), how) {
            before.push(std::mem::replace(&mut vm, arrived));
        }
    }
}

/// A link that carries bytes, and no descriptors.
#[test]
fn descriptors_that_do_not_come_leave_the_vm_here() {
    let vm = TestVm::boot(1, "mode=busy quiet");
    let destination = Destination::waiting(1, None);
    let relay = vm.path("relay");
    let relaying = cut_link(&relay, &destination.url, u64::MAX, Carries::Bytes);
    let error = vm.vmm.send_migration(local(&format!("unix:{}", relay.display())));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("0 descriptors for 1 parts"), "{error}");
    relaying.join().unwrap();
    goes_on(&vm);
    // Nobody has described a VM: the wait goes on.
    vm.vmm.send_migration(local(&destination.url)).unwrap();
    let (arrived, received) = destination.join();
    received.unwrap();
    goes_on(&arrived);
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
    goes_on(&over);
    over.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
    destination.join().1.unwrap();
}
