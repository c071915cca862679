//! A guest that resets and sets its devices up again in a loop is migrated again and again, saved and restored: the activation that a
//! migration finds under way is done at the other end, no request is lost or done twice, and every image has one user.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use embedded::TestVm;
use embedded::driver::DriverVm;
use migration_bed::Destination;
use stillpoint_guest::driver::{Command, OUTCOME_DONE, storm};
use vmm::config::{
    DiskConfig, MemoryRestoreMode, RestoreConfig, RngConfig, SendMigrationConfig, SnapshotConfig,
};
use vmm::control::VmmControl;

/// Sectors of each disk.
const SECTORS: usize = 2048;
const VCPUS: u32 = 3;

/// A guest whose vCPUs storm two disks and a source of entropy.
struct Storm {
    guest: DriverVm,
    images: tempfile::TempDir,
    /// The VMMs that it has left, with what they hold open.
    left: Vec<TestVm>,
}

impl Storm {
    fn begin() -> Self {
        let images = tempfile::tempdir().unwrap();
        let disk = |id: &str| {
            let path = images.path().join(id);
            std::fs::write(&path, vec![0xD1; SECTORS * 512]).unwrap();
            DiskConfig { id: Some(id.to_owned()), ..DiskConfig::of_path(&path) }
        };
        let mut guest = DriverVm::boot(VCPUS, |config| {
            config.disks = vec![disk("disk0"), disk("disk1")];
            config.rng = Some(RngConfig::default());
        });
        let tree = guest.vm.vmm.info().unwrap().device_tree;
        let slot = |id: &str| u64::from(tree[id].pci_bdf.unwrap().device);
        let what = storm::WINDOW | storm::MOVE_BAR;
        guest.begin(0, Command::Storm, &[slot("disk0"), what | storm::REQUESTS, 1]);
        guest.begin(1, Command::Storm, &[slot("disk1"), what | storm::REQUESTS, 2]);
        guest.begin(2, Command::Storm, &[slot("__rng"), what, 3]);
        Self { guest, images, left: Vec::new() }
    }

    /// Every vCPU has done a round of its storm since.
    fn goes_on(&self) {
        let progress = || (0..VCPUS as usize).map(|vcpu| self.guest.progress(vcpu));
        let then: Vec<u64> = progress().collect();
        self.guest.vm.await_that("every vCPU's storm going on", |vm| {
            // A command that has ended has failed.
            let ended = (0..VCPUS as usize).find(|vcpu| self.guest.is_done(*vcpu));
            assert_eq!(ended.map(|vcpu| self.guest.results(vcpu)), None, "{:?}", vm.vmm.info());
            progress().zip(&then).all(|(now, then)| now > *then)
        });
    }

    fn move_to(&mut self, vm: TestVm) {
        self.left.push(std::mem::replace(&mut self.guest.vm, vm));
    }

    fn migrate(&mut self) {
        let destination = Destination::waiting(VCPUS, None);
        self.guest.vm.vmm.send_migration(SendMigrationConfig::to(&destination.url)).unwrap();
        let (arrived, received) = destination.join();
        received.unwrap();
        self.move_to(arrived);
    }

    /// Through a directory, the first one ended in between: its images are the other one's.
    fn restore(&mut self, memory_restore_mode: MemoryRestoreMode) {
        let path = self.images.path().join(format!("snapshot-{}", self.left.len()));
        let url = format!("file://{}", path.display());
        let vmm = &self.guest.vm.vmm;
        vmm.pause().unwrap();
        let destination_url = url.clone();
        vmm.snapshot(SnapshotConfig { destination_url, live: false, base_url: None }).unwrap();
        vmm.delete().unwrap();
        let restored = TestVm::none_yet(VCPUS);
        let config = RestoreConfig { resume: true, memory_restore_mode, ..RestoreConfig::of(&url) };
        restored.vmm.restore(config).unwrap();
        self.move_to(restored);
    }

    /// Nothing was lost or done twice, as the guest sees it.
    fn end(self) {
        for vcpu in 0..VCPUS as usize {
            self.guest.stop(vcpu);
        }
        for vcpu in 0..VCPUS as usize {
            let results = self.guest.end(vcpu);
            assert_eq!(results[0], OUTCOME_DONE, "vCPU {vcpu}: {results:?}");
            assert!(results[1] > 0, "no activation on vCPU {vcpu}: {results:?}");
            assert!(vcpu == 2 || results[2] > 0, "no request on vCPU {vcpu}: {results:?}");
        }
    }
}

/// How often; more for long runs.
fn rounds() -> usize {
    let long = std::env::var("STILLPOINT_MIGRATION_ROUNDS").ok();
    long.and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

#[test]
fn devices_are_set_up_again_and_again_while_the_vm_goes_from_one_vmm_to_the_next() {
    let mut storm = Storm::begin();
    for round in 0..rounds() {
        // Now and then at once, in the middle of whatever the last one left under way.
        if round % 3 != 2 {
            storm.goes_on();
        }
        storm.migrate();
        if storm.left.len() > 4 {
            storm.left.remove(0);
        }
    }
    storm.goes_on();
    storm.end();
}

#[test]
fn devices_are_set_up_again_and_again_while_the_vm_is_saved_and_restored() {
    let mut storm = Storm::begin();
    for mode in [MemoryRestoreMode::Copy, MemoryRestoreMode::OnDemand].repeat(2) {
        storm.goes_on();
        storm.restore(mode);
    }
    storm.goes_on();
    storm.end();
}
