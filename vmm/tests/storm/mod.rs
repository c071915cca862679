//! One VM under the storm, in chapters.
//!
//! ```text
//!   Alone:    vCPU 0 ⇄ disk   vCPU 1 ⇄ disk   vCPU 2 ⇄ rng                 each its own device
//!   Together: vCPU 0 and 1 ⇄ one disk         vCPU 2 ⇄ rng
//!   both:     vCPU 3 ⇄ a disk that was just added, and is removed in use; another one comes and goes unused
//!
//!   cycle:    pause ─▶ nothing moves, the counts agree ─▶ resume ─▶ the guest has gone on ─▶ …
//! ```
//!
//! How far it has gone on: in one cycle of four a vCPU, each in its turn, has done a round of its storm; in the others some
//! exits were served, so that most pauses come in the middle of a round, between any two exits.
//!
//! What has to hold: while the VM is paused, no vCPU goes on and no device does anything for the guest; the activations
//! that a vCPU has counted are those of its device, and one that is under way; an id is taken until the guest
//! has ejected its device; every command ends well.

mod account;
mod plan;

use std::fmt;

use stillpoint_guest::driver::{Command, OUTCOME_DONE, storm};
use vmm::config::{DiskConfig, RngConfig};
use vmm::control::{Added, ControlError, VmmControl};

use crate::embedded::{self, driver::DriverVm};
use account::{Account, Look};
pub use plan::Plan;

/// vCPUs.
pub const VCPUS: usize = 4;
/// Pause cycles of a chapter, at least.
const CYCLES: u64 = 160;
/// Of so many cycles one waits for a round of a vCPU's storm, the others for exits.
const ROUND_EVERY: u64 = 4;
/// Exits that are waited for, at most.
const EXITS: u64 = 5;
/// Sectors of each disk.
const SECTORS: usize = 2048;
/// Everything that a storm can do to a disk.
const ALL: u64 = storm::WINDOW | storm::MOVE_BAR | storm::REQUESTS;
/// The disk that is removed in use, the one that nobody uses, and the source of entropy.
const HOT: &str = "hot";
const SPARE: &str = "spare";
const RNG: &str = "__rng";

/// Who storms what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Chapter {
    /// Each vCPU its own device.
    Alone,
    /// Two vCPUs one device.
    Together,
}

/// The VM, and what has been done with it.
pub struct Storm {
    guest: DriverVm,
    images: tempfile::TempDir,
    pub chapters: u64,
    pub cycles: u64,
    activations: u64,
    requests: u64,
    moves: u64,
    ejections: u64,
    /// Pauses that found a vCPU in the wait for an activation or a reset.
    parked: u64,
}

impl Storm {
    pub fn boot() -> Self {
        let images = tempfile::tempdir().unwrap();
        let guest = DriverVm::boot(4, |config| {
            config.disks = vec![disk(&images, "disk0"), disk(&images, "disk1")];
            config.rng = Some(RngConfig::default());
        });
        Self {
            guest,
            images,
            chapters: 0,
            cycles: 0,
            activations: 0,
            requests: 0,
            moves: 0,
            ejections: 0,
            parked: 0,
        }
    }

    /// What must have happened, however short the storm was.
    pub fn sums(&self) -> [(&'static str, u64); 5] {
        [
            ("pause cycle", self.cycles),
            ("activation", self.activations),
            ("request", self.requests),
            ("move of a BAR", self.moves),
            ("ejection", self.ejections),
        ]
    }

    pub fn play(&mut self, chapter: Chapter) {
        let mut account = Account::of(&self.guest);
        let seed = self.chapters << 8 | 1;
        match chapter {
            Chapter::Alone => {
                self.storm(&mut account, 0, "disk0", ALL, seed);
                self.storm(&mut account, 1, "disk1", ALL, seed);
            }
            Chapter::Together => {
                let slot = self.slot("disk0");
                self.guest.begin_together([0, 1], slot, storm::MOVE_BAR, seed);
                account.follow(0, "disk0");
            }
        }
        self.storm(&mut account, 2, RNG, storm::WINDOW | storm::MOVE_BAR, seed);
        self.add(HOT);
        self.storm(&mut account, 3, HOT, ALL | storm::EJECT, seed);
        let begun = self.cycles;
        while self.cycles - begun < CYCLES || !account.all_activated(&self.guest) {
            match self.cycles - begun {
                40 => self.add(SPARE),
                100 => self.guest.vm.vmm.remove_device(SPARE).unwrap(),
                _ => {}
            }
            self.cycle(&account);
        }
        self.guest.vm.vmm.remove_device(HOT).unwrap();
        self.ejections += 2;
        while !self.guest.is_done(3) {
            self.cycle(&account);
        }
        self.finish(&account);
    }

    /// Ends the chapter: nobody was left behind, and the counts agree.
    fn finish(&mut self, account: &Account) {
        for vcpu in 0..VCPUS {
            // The second of a pair ends with the first.
            self.guest.stop(vcpu);
        }
        for vcpu in 0..VCPUS {
            let results = self.guest.end(vcpu);
            assert_eq!(results[0], OUTCOME_DONE, "vCPU {vcpu}: {results:?} in {self}");
            self.activations += results[1];
            self.requests += results[2];
            self.moves += results[3];
        }
        account.settle(&self.guest);
        self.chapters += 1;
    }

    /// One pause.
    fn cycle(&mut self, account: &Account) {
        let vmm = &self.guest.vm.vmm;
        vmm.pause().unwrap();
        let then = Look::at(&self.guest);
        account.check(&self.guest);
        self.parked += u64::from(then.is_somebody_parked());
        then.must_be(&Look::at(&self.guest), || format!("in {self}"));
        if self.cycles.is_multiple_of(ROUND_EVERY) {
            self.resume_for_a_round();
        } else {
            self.resume_for_exits(1 + self.cycles % EXITS);
        }
        self.cycles += 1;
    }

    /// Back to back, pauses leave the vCPUs no time to wake; each of them has its turn to go on.
    fn resume_for_a_round(&self) {
        let vmm = &self.guest.vm.vmm;
        let turn = usize::try_from(self.cycles / ROUND_EVERY).unwrap() % VCPUS;
        let progress = self.guest.progress(turn);
        drop(vmm.resume().unwrap());
        embedded::until(
            "a vCPU going on",
            || self.guest.is_done(turn) || self.guest.progress(turn) != progress,
            || format!("vCPU {turn} in {self}: {:?} {:?}", vmm.info(), vmm.counters()),
        );
    }

    fn resume_for_exits(&self, exits: u64) {
        let vmm = &self.guest.vm.vmm;
        let served = || {
            let kinds = vmm.counters().unwrap().remove("exits").unwrap();
            kinds
                .iter()
                .filter(|(kind, _)| *kind != "interrupted")
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        let before = served();
        drop(vmm.resume().unwrap());
        embedded::until(
            "exits",
            || served() >= before + exits,
            || format!("{exits} in {self}: {:?} {:?}", vmm.info(), vmm.counters()),
        );
    }

    fn storm(&mut self, account: &mut Account, vcpu: usize, id: &str, what: u64, seed: u64) {
        let slot = self.slot(id);
        self.guest.begin(vcpu, Command::Storm, &[slot, what, seed]);
        account.follow(vcpu, id);
    }

    /// Adds a disk, whose id is free as soon as the guest has ejected the one before it.
    fn add(&self, id: &str) {
        let vmm = &self.guest.vm.vmm;
        let add = || match vmm.add_disk(disk(&self.images, id)) {
            Ok(Added::Plugged(_)) => true,
            Err(ControlError::IdLeaving(_)) => false,
            other => panic!("{id}: {other:?}"),
        };
        embedded::until("the end of a device", add, || format!("{:?}", vmm.info()));
    }

    fn slot(&self, id: &str) -> u64 {
        let tree = self.guest.vm.vmm.info().unwrap().device_tree;
        tree[id].pci_bdf.unwrap().device.into()
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cycles, chapters, activations, requests, moves, ejections, parked, .. } = self;
        write!(
            f,
            "{cycles} pause cycles, {parked} of them with a vCPU that waited for a device, {chapters} "
        )?;
        write!(
            f,
            "chapters, {activations} activations, {requests} requests awaited, {moves} moves of BARs, "
        )?;
        write!(f, "{ejections} devices added and ejected")
    }
}

/// A disk whose image is full of something that nobody else writes.
fn disk(images: &tempfile::TempDir, id: &str) -> DiskConfig {
    let path = images.path().join(id);
    if !path.exists() {
        std::fs::write(&path, vec![0xD1; SECTORS * 512]).unwrap();
    }
    DiskConfig { id: Some(id.to_owned()), ..DiskConfig::of_path(&path) }
}
