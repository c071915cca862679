//! A VM goes to another VMM on its host with the open files of its disks, whose paths lead nowhere any more, on real KVM.
//!
//! The guest holds a lease in the first sector of its disk: it reads what it wrote last, to the bit, and writes the next, over and over, until
//! what it reads is something else.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use devices::virtio::block::{BlockDevice, BlockError, BlockOptions};
use embedded::disk::{self, DISK};
use embedded::driver::DriverVm;
use migration::engine::{Adoption, DestinationVm, VmError};
use migration::memory::{FileMemory, Layout, PAGE_SIZE, Region};
use migration::wire::{Phase, Rehearsal};
use migration_bed::{Destination, receive_as, state};
use stillpoint_guest::driver::Command;
use vmm::config::{DiskConfig, SendMigrationConfig};
use vmm::control::{VmState, VmmControl};

fn local(url: &str) -> SendMigrationConfig {
    SendMigrationConfig { local: true, ..SendMigrationConfig::to(url) }
}

/// A guest at work on a disk, and the disk's image, which has no path any more.
struct Leased {
    guest: DriverVm,
    image: File,
}

impl Leased {
    fn boot(disk: DiskConfig) -> Self {
        let path = disk.path.clone();
        let mut guest = DriverVm::boot(1, |config| config.disks.push(disk));
        let image = File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let slot = guest.slot_of(DISK);
        guest.begin(0, Command::Lease, &[slot, 1]);
        let leased = Self { guest, image };
        leased.goes_on();
        leased
    }

    /// It renews its lease, which was always what it had written.
    fn goes_on(&self) {
        let sequence = || self.guest.results(0)[1];
        let before = sequence();
        embedded::until(
            "leases",
            || sequence() > before + 20 || self.guest.is_done(0),
            || format!("{:?}", self.guest.vm.vmm.info()),
        );
        assert!(!self.guest.is_done(0), "it found another lease: {:?}", self.guest.results(0));
        // Whoever has the VM has the image.
        let path = format!("/proc/self/fd/{}", self.image.as_raw_fd());
        let taken = BlockDevice::open(BlockOptions::new("taker", path)).err();
        assert!(matches!(taken, Some(BlockError::Locked { .. })), "{taken:?}");
    }
}

fn disks(dir: &Path) -> [DiskConfig; 2] {
    [disk::image(dir, "raw"), disk::qcow2(dir, "qcow2")]
}

#[test]
fn a_vm_whose_images_have_no_path_any_more_moves_with_them() {
    let dir = tempfile::tempdir().unwrap();
    for disk in disks(dir.path()) {
        let mut leased = Leased::boot(disk);
        for _ in 0..4 {
            let destination = Destination::waiting(1, None);
            leased.guest.vm.vmm.send_migration(local(&destination.url)).unwrap();
            assert_eq!(state(&leased.guest.vm), None, "nothing is left of it");
            let (arrived, received) = destination.join();
            received.unwrap();
            leased.guest = leased.guest.arrived(arrived);
            leased.goes_on();
        }
        // Where they are not passed there is nothing to be opened.
        let destination = Destination::waiting(1, None);
        let copied = SendMigrationConfig::to(&destination.url);
        let error = leased.guest.vm.vmm.send_migration(copied).unwrap_err().to_string();
        assert!(error.contains("No such file or directory"), "{error}");
        destination.join().1.unwrap_err();
        leased.goes_on();
    }
}

/// Takes everything, and refuses at a stage.
struct Refuser {
    stage: usize,
    asked: usize,
    memory: Option<FileMemory>,
    /// The disk, as a VMM would have it.
    disk: Option<BlockDevice>,
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
        let file = File::from(adoption.memory);
        let pages = file.metadata()?.len() / PAGE_SIZE as u64;
        self.memory = Some(FileMemory::new(file, Layout::new(vec![Region { gpa: 0, pages }])?)?);
        let (_, files) = adoption.disks.ok_or("no disks")?.pop_first().ok_or("no disk")?;
        let files = devices::virtio::block::ImageFiles {
            image: files.image.into(),
            direct: None,
            backing: vec![],
        };
        self.disk = Some(BlockDevice::open_passed(BlockOptions::new("disk", "/nowhere"), files)?);
        self.ask()
    }

    fn build(&mut self, _: &[u8]) -> Result<(&FileMemory, Option<Rehearsal>), VmError> {
        self.ask()?;
        Ok((self.memory.as_ref().ok_or("nothing was passed")?, None))
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), VmError> {
        // The source has it still.
        let taken = self.disk.as_ref().ok_or("no disk")?.claim();
        assert!(matches!(taken, Err(BlockError::Locked { .. })), "{taken:?}");
        self.ask()
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        // Before it refuses, so that there is something to be given back.
        self.disk.as_ref().ok_or("no disk")?.claim()?;
        self.ask()
    }

    fn start(&mut self, _: Phase) -> Result<(), VmError> {
        self.ask()
    }

    fn discard(&mut self) {
        self.disk = None;
    }
}

#[test]
fn whatever_the_destination_refuses_the_vm_goes_on_with_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    for disk in disks(dir.path()) {
        let leased = Leased::boot(disk);
        for stage in 0..5 {
            let path = dir.path().join(format!("link{stage}"));
            let refusing =
                receive_as(&path, move |_| Refuser { stage, asked: 0, memory: None, disk: None });
            let url = format!("unix:{}", path.display());
            let error = leased.guest.vm.vmm.send_migration(local(&url)).unwrap_err().to_string();
            refusing.join().unwrap().unwrap_err();
            assert!(error.contains("it refuses"), "stage {stage}: {error}");
            assert_eq!(state(&leased.guest.vm), Some(VmState::Running));
            leased.goes_on();
            std::fs::remove_file(&path).unwrap();
        }
    }
}
