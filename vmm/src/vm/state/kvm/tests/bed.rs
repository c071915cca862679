//! VMs on the machine's KVM without an owner: saved, and given to others.

use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use devices::watchdog::Past;
use kvm_ioctls::Kvm;
use stillpoint_guest::{Control, ControlBytes, layout};
use vcpu_state::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

use crate::boot::test_images;
use crate::config::{CpusConfig, MemoryConfig, PayloadConfig, VmConfig};
use crate::consoles::Consoles;
use crate::control::Inbox;
use crate::host_devices::HostDevices;
use crate::memory::GuestRam;
use crate::vcpu::End;
use crate::vm::state::StateError;
use crate::vm::{Builder, Machine, Start, Vm};

/// After this long something hangs. Not a tolerance: nothing becomes true or false by it.
const HANG: Duration = Duration::from_mins(2);

/// A VM, and how its vCPUs have ended that have.
pub(super) struct Bed {
    pub(super) vm: Vm,
    pub(super) ends: Arc<SegQueue<String>>,
    pub(super) config: VmConfig,
    inbox: Arc<Inbox>,
}

/// Whether there is a KVM; says so if there is none.
pub(super) fn is_there_kvm() -> bool {
    let there = Kvm::new().is_ok();
    if !there {
        eprintln!("left out: there is no usable /dev/kvm");
    }
    there
}

/// The embedded guest with this command line.
pub(super) fn embedded(vcpus: u32, cmdline: &str) -> VmConfig {
    VmConfig {
        cpus: CpusConfig { boot_vcpus: vcpus, max_vcpus: vcpus, ..CpusConfig::default() },
        memory: MemoryConfig { size: 16 << 20, ..MemoryConfig::default() },
        payload: PayloadConfig { cmdline: Some(cmdline.to_owned()), ..PayloadConfig::default() },
        ..VmConfig::default()
    }
}

/// A tiny kernel, kept in this directory.
pub(super) fn tiny(directory: &Path, code: &[u8]) -> VmConfig {
    let kernel = directory.join("kernel");
    std::fs::write(&kernel, test_images::elf(code, test_images::LOAD, None)).unwrap();
    let mut config = embedded(1, "");
    config.payload.kernel = Some(kernel);
    config
}

/// Waits, looking again and again, until something is true.
pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < HANG, "waited in vain for {what}");
        moment(200_000);
    }
}

/// Lets this much time pass.
pub(super) fn moment(nanoseconds: i64) {
    let moment = rustix::time::Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let _ = rustix::thread::nanosleep(&moment);
}

impl Bed {
    /// Builds it, held.
    pub(super) fn build(config: VmConfig, start: Start) -> Self {
        let consoles = Consoles::open(&config, None).unwrap();
        let devices = HostDevices::with_own(&[], None);
        let inbox = Arc::new(Inbox::new());
        let builder = Builder {
            config: &config,
            consoles: &consoles,
            devices: &devices,
            inbox: &inbox,
            past: Past::default(),
            start,
        };
        let ends = Arc::new(SegQueue::new());
        let heard = Arc::clone(&ends);
        let ended = move |_: &Machine, index, end: End| {
            if !matches!(end, End::Killed) {
                heard.push(format!("vCPU {index}: {end:?}"));
            }
        };
        let vm = builder.build(Arc::new(ended)).unwrap();
        Self { vm, ends, config, inbox }
    }

    /// Boots it.
    pub(super) fn boot(config: VmConfig) -> Self {
        let mut bed = Self::build(config, Start::Boot);
        bed.go();
        bed
    }

    /// The embedded guest, in its mode.
    pub(super) fn embedded(vcpus: u32, cmdline: &str) -> Self {
        let bed = Self::boot(embedded(vcpus, &format!("quiet {cmdline}")));
        until("every vCPU in its mode", || {
            let mut bytes: ControlBytes = [0; 192];
            bed.memory().read_slice(&mut bytes, GuestAddress(layout::CONTROL)).unwrap();
            Control::parse(&bytes).and_then(|guest| guest.settled()).is_some()
        });
        bed
    }

    /// Lets it run.
    pub(super) fn go(&mut self) {
        drop(self.vm.resume());
        // There is no control thread that would.
        self.inbox.wake_groups();
    }

    /// Holds it, and saves it.
    pub(super) fn save(&mut self) -> Vec<u8> {
        self.vm.pause().unwrap();
        self.saved()
    }

    /// Saves it, which is held.
    pub(super) fn saved(&self) -> Vec<u8> {
        self.vm.save(self.vm.held.as_ref().unwrap()).unwrap()
    }

    /// Another with the same configuration and the state of this one, in memory of its own, held.
    pub(super) fn another(&self, state: &[u8]) -> Self {
        self.restored(self.start_of_another(), state).unwrap()
    }

    /// What another with this one's memory is built from.
    pub(super) fn start_of_another(&self) -> Start {
        Start::Restore { ram: Some(copy_of(&self.config.memory, &self.vm.machine().ram)) }
    }

    /// One with the same configuration.
    pub(super) fn restored(&self, start: Start, state: &[u8]) -> Result<Self, StateError> {
        let mut other = Self::build(self.config.clone(), start);
        other.vm.restore(state)?;
        Ok(other)
    }

    pub(super) fn memory(&self) -> &crate::memory::GuestMemory {
        self.vm.machine().ram.memory()
    }

    pub(super) fn word(&self, address: u64) -> u64 {
        self.memory().read_obj(GuestAddress(address)).unwrap()
    }

    /// One field of every line of the embedded guest.
    pub(super) fn lines(&self, field: u64) -> Vec<u64> {
        let address = |vcpu| layout::LINES + u64::from(vcpu) * layout::LINE_SIZE + field;
        (0..self.config.cpus.boot_vcpus).map(|vcpu| self.word(address(vcpu))).collect()
    }

    /// Waits until every vCPU of the embedded guest has gone on.
    pub(super) fn await_progress(&self, field: u64) {
        let then = self.lines(field);
        until("every vCPU going on", || {
            assert_eq!(self.ends.pop(), None);
            self.lines(field).iter().zip(&then).all(|(now, then)| now != then)
        });
    }

    /// Exits of one kind.
    pub(super) fn exits(&self, kind: &str) -> u64 {
        let mut totals = self.vm.machine().exits.totals();
        totals.find(|(name, _)| *name == kind).unwrap().1
    }
}

/// RAM with the same contents.
fn copy_of(config: &MemoryConfig, ram: &GuestRam) -> GuestRam {
    let copy = GuestRam::new(config, crate::cpuid::LEAST_ADDRESS_BITS).unwrap();
    let mut piece = vec![0; 1 << 20];
    for region in ram.regions() {
        for offset in (0..region.size).step_by(piece.len()) {
            let at = GuestAddress(region.gpa.0 + offset);
            ram.memory().read_slice(&mut piece, at).unwrap();
            copy.memory().write_slice(&piece, at).unwrap();
        }
    }
    copy
}
