//! What runs behind the API: the VMM, with the terminal and the end of the VM told to this process.
use std::io;
use std::sync::Arc;
use std::time::Instant;

use vmm::control::{ControlError, Ended, VmEnd, Vmm, VmmControl, VmmOptions};

pub use vmm::consoles::{OpenTerminal, Terminal};

/// How a VM has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest switched itself off.
    PoweredOff,
    /// `vmm.shutdown`.
    Requested,
    /// An error that the VM cannot survive.
    Failed(String),
    /// It is another VMM's, there.
    Moved(String),
}

/// How to start a VMM.
pub struct Options {
    /// What `vm.info` calls it.
    pub name: Option<String>,
    /// When the process started, for the time it takes to run; `None` if its VM comes later.
    pub started: Option<Instant>,
    /// Called when a VM with a console on the terminal is created; none without a terminal.
    pub open_terminal: Option<OpenTerminal>,
    /// Called once, when the first VM has been built and before the guest can print.
    pub on_first_boot: Option<Box<dyn FnOnce() + Send>>,
    /// What becomes of the VMM when its VM ends by itself.
    pub vm_end: VmEnd,
    /// Called from any thread when the VM has ended; must not block.
    pub on_end: Box<dyn Fn(End) + Send>,
}

/// Starts a VMM without a VM.
pub fn start(options: Options) -> Result<Arc<dyn VmmControl>, ControlError> {
    let Options { name, started, open_terminal, on_first_boot, vm_end, on_end } = options;
    let on_end = move |ended: &Ended| {
        on_end(match ended {
            Ended::GuestShutdown => End::PoweredOff,
            Ended::Requested => End::Requested,
            Ended::Failed(error) => End::Failed(error.clone()),
            Ended::Moved(place) => End::Moved(place.clone()),
        });
    };
    let options = VmmOptions {
        name,
        started,
        open_terminal,
        on_first_boot,
        vm_end,
        on_end: Some(Box::new(on_end)),
        ..VmmOptions::default()
    };
    let cannot = |error: io::Error| ControlError::Failed(format!("cannot start a thread: {error}"));
    // The thread's end is told through `on_end`.
    let (vmm, _thread) = Vmm::start(options).map_err(cannot)?;
    Ok(vmm)
}
