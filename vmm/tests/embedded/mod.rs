//! A VM on the machine's KVM that runs the embedded guest, and eyes on its memory.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

use std::path::PathBuf;
use std::sync::Arc;

use stillpoint_guest::{Control, ControlBytes, layout};
use vm_memory::{Bytes, GuestAddress};
use vmm::config::{ConsoleConfig, ConsoleMode, CpusConfig, MemoryConfig, PayloadConfig, VmConfig};
use vmm::control::{Vmm, VmmControl, VmmOptions, VmmThread};
use vmm::vm::Machine;

/// A VMM whose VM runs the embedded guest.
pub struct TestVm {
    pub vmm: Arc<Vmm>,
    pub thread: Option<VmmThread>,
    pub serial: PathBuf,
    pub vcpus: u32,
    _dir: tempfile::TempDir,
}

/// The configuration of the embedded guest in a mode (`halt`, `busy`, …).
pub fn config(vcpus: u32, cmdline: &str, serial: PathBuf) -> VmConfig {
    VmConfig {
        cpus: CpusConfig { boot_vcpus: vcpus, max_vcpus: vcpus, ..CpusConfig::default() },
        memory: MemoryConfig { size: 64 << 20, ..MemoryConfig::default() },
        payload: PayloadConfig { cmdline: Some(cmdline.to_owned()), ..PayloadConfig::default() },
        serial: ConsoleConfig { mode: ConsoleMode::File, file: Some(serial), socket: None },
        ..VmConfig::default()
    }
}

impl TestVm {
    /// Boots it; returns when every vCPU is up and in its mode.
    pub fn boot(vcpus: u32, cmdline: &str) -> Self {
        let vm = Self::created(vcpus, cmdline);
        vm.vmm.boot().unwrap();
        vm.await_up();
        vm
    }

    /// Creates it without booting.
    pub fn created(vcpus: u32, cmdline: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let serial = dir.path().join("serial");
        let (vmm, thread) = Vmm::start(VmmOptions::default()).unwrap();
        vmm.create(config(vcpus, cmdline, serial.clone())).unwrap();
        Self { vmm, thread: Some(thread), serial, vcpus, _dir: dir }
    }

    pub fn machine(&self) -> Arc<Machine> {
        self.vmm.machine().unwrap()
    }

    /// One field of every vCPU's line.
    pub fn lines(&self, field: u64) -> Vec<u64> {
        let machine = self.machine();
        let address = |vcpu| layout::LINES + u64::from(vcpu) * layout::LINE_SIZE + field;
        (0..self.vcpus)
            .map(|vcpu| machine.ram.memory().read_obj(GuestAddress(address(vcpu))).unwrap())
            .collect()
    }

    pub fn heartbeats(&self) -> Vec<u64> {
        self.lines(layout::LINE_HEARTBEAT)
    }

    /// Waits, looking at guest memory, until something is true of it.
    pub fn await_that(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let begun = std::time::Instant::now();
        while !so(self) {
            // Not a tolerance: a hang must be reported rather than hang the suite.
            assert!(
                begun.elapsed().as_secs() < 60,
                "waited for: {what}; {:?}\n{}",
                self.vmm.info().unwrap(),
                self.output()
            );
            std::thread::yield_now();
        }
    }

    pub fn await_up(&self) {
        self.await_that("every vCPU up and in its mode", |vm| {
            vm.guest().and_then(|guest| guest.settled()).is_some()
        });
    }

    /// The guest's control block, once it runs.
    pub fn guest(&self) -> Option<Control> {
        let mut bytes: ControlBytes = [0; 192];
        self.machine().ram.memory().read_slice(&mut bytes, GuestAddress(layout::CONTROL)).unwrap();
        Control::parse(&bytes)
    }

    pub fn await_progress(&self, field: u64) {
        let then = self.lines(field);
        self.await_that("every vCPU going on", |vm| {
            vm.lines(field).iter().zip(&then).all(|(now, then)| now != then)
        });
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.serial).unwrap_or_default()).into_owned()
    }
}

impl Drop for TestVm {
    fn drop(&mut self) {
        let _ = self.vmm.vmm_shutdown();
        if let Some(thread) = self.thread.take() {
            let _ = thread.wait();
        }
    }
}
