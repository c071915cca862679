//! The driver guest: a VM whose vCPUs drive virtio devices as the test tells them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stillpoint_guest::driver::{self, Command};
use stillpoint_guest::layout;
use vcpu_state::OneShot;
use vm_memory::{Bytes, GuestAddress};
use vmm::config::{
    ConsoleConfig, ConsoleMode, MemoryRestoreMode, RestoreConfig, SnapshotConfig, VmConfig,
};
use vmm::control::{VmmControl, VmmOptions};
use vmm::vm::Machine;

use super::TestVm;

/// Bytes of RAM that the driver guest needs.
const RAM: u64 = driver::MEMORY_END;

/// A VM with the driver guest.
pub struct DriverVm {
    pub vm: TestVm,
    sequences: Vec<u64>,
    /// For the next boot.
    image: Option<tempfile::NamedTempFile>,
}

/// What a command came to: result 0 is the outcome.
pub type Results = [u64; 16];

impl DriverVm {
    /// Boots it with whatever `devices` puts into the configuration.
    pub fn boot(vcpus: u32, devices: impl FnOnce(&mut VmConfig)) -> Self {
        Self::with_options(vcpus, devices, VmmOptions::default())
    }

    /// The same, of a VMM with these options.
    pub fn with_options(
        vcpus: u32,
        devices: impl FnOnce(&mut VmConfig),
        options: VmmOptions,
    ) -> Self {
        let mut config = super::config(vcpus, &format!("vcpus={vcpus} quiet"));
        config.memory.size = RAM;
        devices(&mut config);
        let image = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(image.path(), stillpoint_guest::DRIVER_IMAGE).unwrap();
        config.payload.kernel = Some(image.path().to_owned());
        let serial = |_: &Path| ConsoleConfig::of_mode(ConsoleMode::Null);
        let vm = TestVm::within(tempfile::tempdir().unwrap(), config, serial, options);
        vm.start();
        Self { vm, sequences: vec![0; vcpus as usize], image: Some(image) }
    }

    /// Saves it into `directory`, ends it, and goes on from there in another VMM, running.
    pub fn moved(self, directory: &Path) -> Self {
        let Self { vm, sequences, image } = self;
        let vcpus = u32::try_from(sequences.len()).unwrap();
        let url = format!("file://{}", directory.display());
        let destination_url = url.clone();
        vm.vmm.pause().unwrap();
        vm.vmm.snapshot(SnapshotConfig { destination_url, live: false, base_url: None }).unwrap();
        // With it goes its hold of images and sockets. The kernel is in the memory; nobody looks for its file.
        drop((vm, image));
        let vm = TestVm::none_yet(vcpus);
        let memory_restore_mode = MemoryRestoreMode::Copy;
        let from = RestoreConfig { resume: true, memory_restore_mode, ..RestoreConfig::of(&url) };
        vm.vmm.restore(from).unwrap();
        Self { vm, sequences, image: None }
    }

    /// It has come to another VMM, by whatever way.
    pub fn arrived(self, vm: TestVm) -> Self {
        Self { vm, sequences: self.sequences, image: None }
    }

    fn machine(&self) -> Arc<Machine> {
        self.vm.machine()
    }

    fn place(vcpu: usize, offset: u64) -> GuestAddress {
        GuestAddress(driver::LINES + driver::LINE_SIZE * vcpu as u64 + offset)
    }

    fn load(&self, vcpu: usize, offset: u64) -> u64 {
        let place = Self::place(vcpu, offset);
        self.machine().ram.memory().load(place, Ordering::Acquire).unwrap()
    }

    fn store(&self, vcpu: usize, offset: u64, value: u64) {
        let place = Self::place(vcpu, offset);
        self.machine().ram.memory().store(value, place, Ordering::Release).unwrap();
    }

    /// Gives a vCPU something to do.
    pub fn begin(&mut self, vcpu: usize, command: Command, arguments: &[u64]) {
        for (index, argument) in (0..).zip(arguments) {
            self.store(vcpu, driver::ARGUMENTS + 8 * index, *argument);
        }
        // Who looks before the vCPU has begun sees nothing of the command before.
        (0..16).for_each(|index| self.store(vcpu, driver::RESULTS + 8 * index, 0));
        self.store(vcpu, driver::STOP, 0);
        self.sequences[vcpu] += 1;
        self.store(vcpu, driver::COMMAND, self.sequences[vcpu] << 32 | command as u64);
    }

    /// Gives two vCPUs something to do together ([`Command::Together`]); the first one is the one to stop.
    pub fn begin_together(&mut self, vcpus: [usize; 2], slot: u64, what: u64, seed: u64) {
        for vcpu in vcpus {
            self.store(vcpu, driver::MEETING, 0);
        }
        for (vcpu, other) in vcpus.into_iter().zip(vcpus.into_iter().rev()) {
            self.begin(vcpu, Command::Together, &[slot, other as u64, what, seed]);
        }
    }

    /// The place of a vCPU that was there from the start.
    pub fn place_of(&self, apic_id: u64) -> usize {
        let ids = self.vm.lines(layout::LINE_APIC_ID);
        ids.iter().position(|line| line & 0xFFFF_FFFF == apic_id).unwrap()
    }

    /// Has the guest start the vCPU with this APIC id; gives its place in the order of arrival, by which it is told what to do.
    pub fn start(&mut self, apic_id: u32) -> usize {
        let up = || self.vm.guest().map(|guest| guest.up);
        let before = up();
        let place = GuestAddress(driver::START);
        self.machine().ram.memory().store(apic_id, place, Ordering::Release).unwrap();
        // To one vCPU that runs: one that begins has no handler yet.
        self.vm.vmm.group().unwrap().ask(0, OneShot::Nmi).unwrap();
        self.vm.await_that("a vCPU that was started", |_| up() != before);
        self.sequences.push(0);
        self.sequences.len() - 1
    }

    /// Tells a vCPU to come to an end.
    pub fn stop(&self, vcpu: usize) {
        self.store(vcpu, driver::STOP, 1);
    }

    /// Whether a vCPU has done what it was told.
    pub fn is_done(&self, vcpu: usize) -> bool {
        self.load(vcpu, driver::DONE) == self.sequences[vcpu]
    }

    /// Rounds of a command that goes on.
    pub fn progress(&self, vcpu: usize) -> u64 {
        self.load(vcpu, driver::PROGRESS)
    }

    /// The results so far.
    pub fn results(&self, vcpu: usize) -> Results {
        std::array::from_fn(|index| self.load(vcpu, driver::RESULTS + 8 * index as u64))
    }

    /// Waits for the end of what a vCPU does.
    pub fn end(&self, vcpu: usize) -> Results {
        super::until(
            "the driver",
            || self.is_done(vcpu),
            || {
                format!(
                    "{:?}\n{:?}",
                    self.results(vcpu),
                    vmm::control::VmmControl::info(&*self.vm.vmm)
                )
            },
        );
        self.results(vcpu)
    }

    /// Has a vCPU do something, and waits for it.
    pub fn run(&mut self, vcpu: usize, command: Command, arguments: &[u64]) -> Results {
        self.begin(vcpu, command, arguments);
        self.end(vcpu)
    }
}
