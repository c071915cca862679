//! What runs behind the API: for now a VMM with the phases of a VM and nothing behind them.
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use vmm::config::{ConsoleMode, VmConfig};
use vmm::control::{ControlError, Counters, VcpuInfo, VmInfo, VmState, VmmControl};

/// Takes input from the terminal, appends what is for the guest.
pub type InputFilter = Box<dyn FnMut(&[u8], &mut Vec<u8>) + Send>;

/// A terminal for a console of mode `Tty`, already raw.
pub struct Terminal {
    /// To read from.
    pub input: OwnedFd,
    /// To write to.
    pub output: OwnedFd,
    /// What the input goes through.
    pub filter: InputFilter,
}

/// How a VM has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest switched itself off.
    PoweredOff,
    /// `vmm.shutdown`.
    Requested,
    /// An error that the VM cannot survive, as one line.
    Failed(String),
}

/// How to start a VMM.
pub struct Options {
    /// What `vm.info` calls it.
    pub name: Option<String>,
    /// When the process started, for the time it takes to run.
    pub started: Instant,
    /// Called when a VM with a console on the terminal is created.
    pub open_terminal: Box<dyn Fn() -> io::Result<Terminal> + Send + Sync>,
    /// Called from any thread when the VM has ended; must not block.
    pub on_end: Box<dyn Fn(End) + Send + Sync>,
}

/// Starts a VMM without a VM.
#[expect(clippy::unnecessary_wraps, reason = "a VMM with something behind it can fail to start")]
pub fn start(options: Options) -> Result<Arc<dyn VmmControl>, ControlError> {
    Ok(Arc::new(Fake { options: Arc::new(options), state: Arc::default() }))
}

#[derive(Default)]
struct State {
    vm: Option<(VmConfig, VmState)>,
    last_pause_us: Option<u64>,
    last_resume_us: Option<u64>,
    boot_us: Option<u64>,
    is_over: bool,
}

#[expect(clippy::disallowed_types, reason = "there is no vCPU")]
type Shared = Arc<std::sync::Mutex<State>>;

struct Fake {
    options: Arc<Options>,
    state: Shared,
}

impl Fake {
    fn change(
        &self,
        action: &'static str,
        from: &[VmState],
        needed: &'static str,
        to: VmState,
    ) -> Result<(), ControlError> {
        let started = Instant::now();
        let mut shared = self.state.lock().map_err(|_| ControlError::Stopping)?;
        let (_, state) = shared.vm.as_mut().ok_or(ControlError::NotCreated)?;
        if !from.contains(state) {
            return Err(ControlError::WrongPhase { action, state: *state, needed });
        }
        *state = to;
        let elapsed = u64::try_from(started.elapsed().as_micros()).ok();
        match action {
            "pause" => shared.last_pause_us = elapsed,
            "resume" => shared.last_resume_us = elapsed,
            "boot" => {
                shared.boot_us = u64::try_from(self.options.started.elapsed().as_micros()).ok();
            }
            _ => {}
        }
        Ok(())
    }

    fn open_terminal(&self) -> io::Result<()> {
        let Terminal { input, output, mut filter } = (self.options.open_terminal)()?;
        let (mut input, mut output) = (std::fs::File::from(input), std::fs::File::from(output));
        let options = Arc::clone(&self.options);
        std::thread::Builder::new().name("console".to_owned()).spawn(move || {
            let mut piece = [0; 256];
            while let Ok(length @ 1..) = input.read(&mut piece) {
                let mut guest = Vec::new();
                filter(&piece[..length], &mut guest);
                for byte in guest {
                    match byte {
                        b'q' => (options.on_end)(End::PoweredOff),
                        b'e' => (options.on_end)(End::Failed("vCPU 0: it is broken".to_owned())),
                        b'p' => panic!("a device has panicked"),
                        b'w' => tracing::warn!("a warning"),
                        other => drop(write!(output, "[{other}]\r\n")),
                    }
                }
            }
        })?;
        Ok(())
    }
}

impl VmmControl for Fake {
    fn create(&self, config: VmConfig) -> Result<(), ControlError> {
        if self.state.lock().map_err(|_| ControlError::Stopping)?.vm.is_some() {
            return Err(ControlError::AlreadyCreated);
        }
        if [&config.serial, &config.console].iter().any(|one| one.mode == ConsoleMode::Tty) {
            self.open_terminal().map_err(|error| ControlError::Failed(error.to_string()))?;
        }
        let mut state = self.state.lock().map_err(|_| ControlError::Stopping)?;
        state.vm = Some((config, VmState::Created));
        Ok(())
    }

    fn boot(&self) -> Result<(), ControlError> {
        let from = [VmState::Created, VmState::Shutdown];
        self.change("boot", &from, "Created or Shutdown", VmState::Running)
    }

    fn pause(&self) -> Result<(), ControlError> {
        self.change("pause", &[VmState::Running], "Running", VmState::Paused)
    }

    fn resume(&self) -> Result<(), ControlError> {
        self.change("resume", &[VmState::Paused], "Paused", VmState::Running)
    }

    fn shutdown(&self) -> Result<(), ControlError> {
        let from = [VmState::Running, VmState::Paused];
        self.change("shut down", &from, "Running or Paused", VmState::Shutdown)
    }

    fn reboot(&self) -> Result<(), ControlError> {
        let from = [VmState::Running, VmState::Paused];
        self.change("reboot", &from, "Running or Paused", VmState::Running)
    }

    fn delete(&self) -> Result<(), ControlError> {
        let mut state = self.state.lock().map_err(|_| ControlError::Stopping)?;
        state.vm.take().map(drop).ok_or(ControlError::NotCreated)
    }

    fn nmi(&self) -> Result<(), ControlError> {
        self.change("send an NMI to", &[VmState::Running], "Running", VmState::Running)
    }

    fn info(&self) -> Result<VmInfo, ControlError> {
        let shared = self.state.lock().map_err(|_| ControlError::Stopping)?;
        let (config, state) = shared.vm.clone().ok_or(ControlError::NotCreated)?;
        let word = if state == VmState::Running { "RUN|IN_GUEST" } else { "RUN|PAUSED" };
        let vcpu = |index| VcpuInfo { index, word: 3, state: word.to_owned() };
        Ok(VmInfo {
            memory_actual_size: config.memory.size,
            vcpus: (0..config.cpus.boot_vcpus).map(vcpu).collect(),
            config,
            state,
            name: self.options.name.clone(),
            last_error: None,
            last_pause_us: shared.last_pause_us,
            last_resume_us: shared.last_resume_us,
            boot_us: shared.boot_us,
            pid: std::process::id(),
        })
    }

    fn counters(&self) -> Result<Counters, ControlError> {
        let shared = self.state.lock().map_err(|_| ControlError::Stopping)?;
        shared.vm.as_ref().ok_or(ControlError::NotCreated)?;
        let elapsed = u64::try_from(self.options.started.elapsed().as_millis()).unwrap_or(0);
        let exits = BTreeMap::from([("exits_hlt".to_owned(), elapsed)]);
        Ok(BTreeMap::from([("vcpus".to_owned(), exits)]))
    }

    fn vmm_shutdown(&self) -> Result<(), ControlError> {
        let mut state = self.state.lock().map_err(|_| ControlError::Stopping)?;
        if !std::mem::replace(&mut state.is_over, true) {
            (self.options.on_end)(End::Requested);
        }
        Ok(())
    }
}
