//! VMs on the machine's KVM: the embedded guest or a tiny kernel, and eyes on their memory.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unused_imports, reason = "each test file uses a part of it")]

pub mod disk;
pub mod driver;
pub mod held;
pub mod probe;
pub mod scheduled;
pub mod screen;
pub mod tiny;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stillpoint_guest::{Control, ControlBytes, layout};
use vm_memory::{Bytes, GuestAddress};
use vmm::config::{ConsoleConfig, ConsoleMode, CpusConfig, MemoryConfig, PayloadConfig, VmConfig};
use vmm::control::{Vmm, VmmControl, VmmOptions, VmmThread};
use vmm::vm::Machine;

pub use screen::Screen;

/// After this long something hangs. Not a tolerance: nothing becomes true or false by it.
pub const HANG: Duration = Duration::from_mins(2);

/// A VMM with a VM.
pub struct TestVm {
    pub vmm: Arc<Vmm>,
    pub thread: Option<VmmThread>,
    pub vcpus: u32,
    dir: tempfile::TempDir,
}

/// The embedded guest with this command line (`mode=busy quiet`, …), its serial port going nowhere.
pub fn config(vcpus: u32, cmdline: &str) -> VmConfig {
    VmConfig {
        cpus: CpusConfig { boot_vcpus: vcpus, max_vcpus: vcpus, ..CpusConfig::default() },
        memory: MemoryConfig { size: 64 << 20, ..MemoryConfig::default() },
        payload: PayloadConfig { cmdline: Some(cmdline.to_owned()), ..PayloadConfig::default() },
        ..VmConfig::default()
    }
}

/// Waits, looking again and again, until something is true.
pub fn until(what: &str, mut so: impl FnMut() -> bool, state: impl FnOnce() -> String) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < HANG, "waited in vain for {what}: {}", state());
        // Leaves the processors to the guest between two looks.
        let moment = rustix::time::Timespec { tv_sec: 0, tv_nsec: 500_000 };
        let _ = rustix::thread::nanosleep(&moment);
    }
}

impl TestVm {
    /// Boots the embedded guest with its serial port in a file; returns when every vCPU is up and
    /// in its mode.
    pub fn boot(vcpus: u32, cmdline: &str) -> Self {
        let vm = Self::created(vcpus, cmdline);
        vm.start();
        vm
    }

    /// Boots what was created; returns when every vCPU is up and in its mode.
    pub fn start(&self) {
        self.vmm.boot().unwrap();
        self.await_up();
    }

    /// Creates it without booting.
    pub fn created(vcpus: u32, cmdline: &str) -> Self {
        let serial = |dir: &Path| ConsoleConfig {
            mode: ConsoleMode::File,
            file: Some(dir.join("serial")),
            socket: None,
            id: None,
        };
        Self::with(config(vcpus, cmdline), serial)
    }

    /// The same with the serial port on a socket, and somebody behind it; not booted.
    pub fn with_screen(vcpus: u32, cmdline: &str) -> Self {
        let serial = |dir: &Path| ConsoleConfig {
            mode: ConsoleMode::Socket,
            file: None,
            socket: Some(dir.join("serial")),
            id: None,
        };
        Self::with(config(vcpus, cmdline), serial)
    }

    /// A tiny kernel with its serial port in a file; not booted.
    pub fn tiny(code: &[u8]) -> Self {
        Self::tiny_with(code, |_| {})
    }

    /// The same, with whatever `change` makes of its configuration.
    pub fn tiny_with(code: &[u8], change: impl FnOnce(&mut VmConfig)) -> Self {
        let serial = |dir: &Path| ConsoleConfig {
            mode: ConsoleMode::File,
            file: Some(dir.join("serial")),
            socket: None,
            id: None,
        };
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("kernel");
        std::fs::write(&kernel, tiny::elf(code)).unwrap();
        let mut config = config(1, "");
        config.payload.kernel = Some(kernel);
        change(&mut config);
        Self::within(dir, config, serial, VmmOptions::default())
    }

    /// A VMM without a VM, to which one of so many vCPUs will come.
    pub fn none_yet(vcpus: u32) -> Self {
        let (vmm, thread) = Vmm::start(VmmOptions::default()).unwrap();
        Self { vmm, thread: Some(thread), vcpus, dir: tempfile::tempdir().unwrap() }
    }

    /// All of its memory.
    pub fn memory(&self) -> Vec<u8> {
        let machine = self.machine();
        let mut all = vec![0; usize::try_from(machine.ram.size()).unwrap()];
        machine.ram.memory().read_slice(&mut all, GuestAddress(0)).unwrap();
        all
    }

    /// Any VM; not booted.
    pub fn with(config: VmConfig, serial: impl FnOnce(&Path) -> ConsoleConfig) -> Self {
        Self::within(tempfile::tempdir().unwrap(), config, serial, VmmOptions::default())
    }

    /// The same, of a VMM with these options.
    pub fn with_options(
        config: VmConfig,
        serial: impl FnOnce(&Path) -> ConsoleConfig,
        options: VmmOptions,
    ) -> Self {
        Self::within(tempfile::tempdir().unwrap(), config, serial, options)
    }

    fn within(
        dir: tempfile::TempDir,
        mut config: VmConfig,
        serial: impl FnOnce(&Path) -> ConsoleConfig,
        options: VmmOptions,
    ) -> Self {
        // Whoever looks on while hundreds of vCPUs spin gets to look soon, as the API's threads do.
        vmm::sched::run_soon();
        config.serial = serial(dir.path());
        let vcpus = config.cpus.boot_vcpus;
        let (vmm, thread) = Vmm::start(options).unwrap();
        vmm.create(config).unwrap();
        Self { vmm, thread: Some(thread), vcpus, dir }
    }

    /// The serial port's file or socket.
    pub fn serial(&self) -> PathBuf {
        self.dir.path().join("serial")
    }

    /// Where the test may put something.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
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

    /// The whole of every vCPU's line.
    pub fn all_lines(&self) -> Vec<u8> {
        let size = usize::try_from(layout::LINE_SIZE).unwrap() * self.vcpus as usize;
        let mut lines = vec![0; size];
        let memory = self.machine();
        memory.ram.memory().read_slice(&mut lines, GuestAddress(layout::LINES)).unwrap();
        lines
    }

    /// A counter of `vm.counters`.
    pub fn counter(&self, group: &str, name: &str) -> u64 {
        let counters = self.vmm.counters().unwrap();
        counters.get(group).and_then(|group| group.get(name)).copied().unwrap()
    }

    /// Waits until something is true of it.
    pub fn await_that(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let state = || format!("{:?}\n{}", self.vmm.info(), self.output());
        until(what, || so(self), state);
    }

    pub fn await_up(&self) {
        self.await_that("every vCPU up and in its mode", |vm| {
            vm.guest().and_then(|guest| guest.settled()).is_some()
        });
    }

    /// The guest's control block, once it runs.
    pub fn guest(&self) -> Option<Control> {
        let mut bytes: ControlBytes = [0; 192];
        let machine = self.vmm.machine()?;
        machine.ram.memory().read_slice(&mut bytes, GuestAddress(layout::CONTROL)).unwrap();
        Control::parse(&bytes)
    }

    pub fn await_progress(&self, field: u64) {
        let then = self.lines(field);
        self.await_that("every vCPU going on", |vm| {
            vm.lines(field).iter().zip(&then).all(|(now, then)| now != then)
        });
    }

    /// What the serial port's file holds.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.serial()).unwrap_or_default()).into_owned()
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
