//! The VMM as its users hold it: posts requests, takes the turn, waits for the answers. What the API may ask is in `asking`.

use std::io;
use std::ops::Range;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use vcpu_state::sync::Arc;
use vcpu_state::throttle::{DutyCycle, Throttle};
use vcpu_state::{Deadline, Group, PauseParts};

use super::core::Core;
use super::devices::DeviceRequest;
use super::message::{Answer, Message, Reply, Request};
use super::owner::Owner;
use super::published::Published;
use super::{Added, ControlError, Inbox, Line, VmmOptions};
use crate::host_devices::OpenDisk;
use crate::vm::{self, KvmHost, LiveMemory, Machine, Stillness};

/// Why the VMM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to (`vmm.shutdown`).
    Requested,
    /// The guest switched itself off.
    GuestShutdown,
    /// The VM could not go on; the report is for people.
    Failed(String),
    /// The VM is another VMM's now, there.
    Moved(String),
}

/// The requests' way to the owner of the VM.
pub struct Vmm {
    pub(super) core: Arc<Core>,
    pub(super) open_disk: Option<OpenDisk>,
}

/// The end of the VMM, to wait for.
pub struct VmmThread(JoinHandle<Ended>);

impl VmmThread {
    /// Waits until the VMM has ended, the VM and its consoles with it.
    #[must_use]
    pub fn wait(self) -> Ended {
        self.0.join().unwrap_or_else(|_| Ended::Failed("the control thread panicked".to_owned()))
    }
}

impl Vmm {
    /// Starts an empty VMM.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn start(options: VmmOptions) -> io::Result<(Arc<Self>, VmmThread)> {
        let inbox = Arc::new(Inbox::new());
        let published = Arc::new(Published::new(options.name.clone()));
        let open_disk = options.open_disk.as_ref().map(Arc::clone);
        let owner = Owner::new(options, Arc::clone(&inbox), Arc::clone(&published));
        let core = Arc::new(Core::new(owner, inbox, published));
        let looks = Arc::clone(&core);
        let thread = Builder::new()
            .name("control".to_owned())
            .stack_size(512 << 10)
            .spawn(move || look_after_guests(&looks))?;
        Ok((Arc::new(Self { core, open_disk }), VmmThread(thread)))
    }

    /// The machine of the VM that exists now, for looking at its memory.
    #[must_use]
    pub fn machine(&self) -> Option<Arc<Machine>> {
        self.core.published.live.load().as_ref().map(|live| Arc::clone(&live.machine))
    }

    /// The memory of the VM that exists now, to be copied while it runs.
    #[must_use]
    pub fn live_memory(&self) -> Option<LiveMemory> {
        self.core.published.live.load().as_ref().map(|live| live.pages.clone())
    }

    /// The way to the still point of the VM that exists now: one more holder beside the operator's pause.
    #[must_use]
    pub fn stillness(&self) -> Option<Stillness> {
        self.core.published.live.load().as_ref().map(|live| live.stillness.clone())
    }

    /// The words of the VM that exists now, for pausers of their own: each is one more holder beside the
    /// operator's pause.
    #[must_use]
    pub fn group(&self) -> Option<Arc<Group>> {
        self.core.published.live.load().as_ref().map(|live| Arc::clone(&live.group))
    }

    /// Ends a vCPU's thread; the vCPU stands still until it is added again. Running, held or about to
    /// be: a pause that waits for it has its answer with its end.
    ///
    /// # Errors
    /// There is no VM that runs or is paused, no such vCPU, it is removed already, or it is vCPU 0.
    pub fn remove_vcpu(&self, vcpu: u32) -> Result<(), ControlError> {
        self.request(Request::RemoveVcpu(vcpu))
    }

    /// Gives a removed vCPU a new thread, on which it goes on where it stood; parked while the VM is
    /// held.
    ///
    /// # Errors
    /// There is no VM that runs or is paused, or the vCPU is not a removed one.
    pub fn add_vcpu(&self, vcpu: u32) -> Result<(), ControlError> {
        self.request(Request::AddVcpu(vcpu))
    }

    /// Throttles these vCPUs of the VM that exists now, until what it returns is dropped. It is one more pauser:
    /// pause and resume work as without it, and a resume leaves it in force. It does not outlast a reboot.
    ///
    /// # Errors
    /// There is no VM that has vCPUs, or the host has no thread left.
    pub fn throttle(&self, vcpus: Range<usize>, duty: DutyCycle) -> Result<Throttle, ControlError> {
        let live = self.core.published.live.load_full().ok_or(ControlError::NotCreated)?;
        vm::throttle(&live.group, vcpus, duty).map_err(|error| {
            ControlError::Failed(format!("cannot start the throttle's thread: {error}"))
        })
    }

    /// Waits until every vCPU that can run is in the guest, or has been since the call; one that is halted
    /// there is. For those to whom a resume is done only then: the resume itself returns when nobody is held.
    ///
    /// # Errors
    /// There is no VM that has vCPUs, or some were still on their way at the deadline.
    pub fn wait_in_guest(&self, deadline: Deadline) -> Result<(), ControlError> {
        let live = self.core.published.live.load_full().ok_or(ControlError::NotCreated)?;
        live.group.wait_entered(deadline).map_err(|stuck| ControlError::Failed(stuck.to_string()))
    }

    /// Where the time of the pause went that is in force: for the benchmark.
    ///
    /// # Errors
    /// The VM is not paused.
    pub fn pause_parts(&self) -> Result<PauseParts, ControlError> {
        match self.ask(Request::PauseParts)? {
            Answer::Parts(parts) => Ok(parts),
            _ => Ok(PauseParts::default()),
        }
    }

    pub(super) fn line(&self) -> Line {
        Line::new(&self.core)
    }

    pub(super) fn ask(&self, request: Request) -> Result<Answer, ControlError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let end = request.is_for_an_end().then(|| self.core.published.ask_end());
        self.core.inbox.put(Message::Request(request, Reply::new(answer, end)));
        self.core.take_turn();
        // The sender is dropped unanswered when the VMM has ended.
        answered.recv().unwrap_or(Err(ControlError::Stopping))
    }

    pub(super) fn request(&self, request: Request) -> Result<(), ControlError> {
        self.ask(request).map(drop)
    }

    pub(super) fn add(&self, request: DeviceRequest) -> Result<Added, ControlError> {
        match self.ask(Request::Devices(Box::new(request)))? {
            Answer::Added(added) => Ok(added),
            _ => Ok(Added::Configured),
        }
    }

    pub(super) fn change(&self, request: DeviceRequest) -> Result<(), ControlError> {
        self.request(Request::Devices(Box::new(request)))
    }
}

/// The control thread: wakes the vCPUs of a VM that was resumed, and takes the turn when a vCPU wants
/// something, until the VMM has ended.
fn look_after_guests(core: &Core) -> Ended {
    // While the process is still setting itself up.
    KvmHost::learn();
    loop {
        let generation = core.inbox.generation();
        core.inbox.wake_groups();
        core.take_turn();
        if let Some(ended) = core.inbox.ended() {
            return ended.clone();
        }
        core.inbox.wait(generation);
    }
}
