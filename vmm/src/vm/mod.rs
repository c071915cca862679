//! One virtual machine on KVM: what it is built from, and what is done to it as a whole.
//!
//! ```text
//!   build ──▶ (held, no thread) ──spawn all──▶ (held, all parked) ──start──▶ running ⇄ paused
//!     │             │                                                 │
//!     └─ error: nothing is left                                       └─▶ stop: kill all, join all
//! ```
//!
//! Invariants: no vCPU enters the guest before every thread exists; the control thread is the only one
//! that holds a [`Vm`]; vCPU threads share its [`Machine`], in which nothing can be waited for.

mod build;
mod kvm;
mod machine;
mod pci;
mod power;
mod still;
mod threads;
mod throttle;

use std::time::Duration;

use kvm_ioctls::VmFd;
use vcpu_state::sync::Arc;
use vcpu_state::{Completer, Deadline, Group, OneShot, PauseParts, Resumed};

use crate::control::Inbox;

pub use build::{BuildError, Builder, make_room_for_files};
pub use kvm::{KvmError, KvmHost};
pub use machine::Machine;
pub use power::PowerRequests;
use still::Still;
pub use still::StillError;
use threads::{Home, Threads};
pub use threads::{OnVcpuEnd, SeatError};
pub use throttle::throttle;

/// How long a pause may take before it is reported and taken back. Generous: correctness does not
/// depend on it, and a loaded host may need a second for hundreds of vCPUs.
const PAUSE_DEADLINE: Deadline = Deadline::After(Duration::from_secs(30));

/// A virtual machine with its vCPU threads, running or held.
pub struct Vm {
    machine: Arc<Machine>,
    group: Arc<Group>,
    /// The words of its devices' workers.
    workers: Arc<Group>,
    threads: Threads,
    /// The operator's hold: there from the build to the start, and from a pause to its resume.
    held: Option<Still>,
    inbox: Arc<Inbox>,
    /// What vCPUs wait for that asked for power-off or reset; done when the VM goes away.
    #[expect(dead_code, reason = "its drop is what it is for")]
    power_taken: Completer,
    kvm: Arc<VmFd>,
}

/// A resume that is done but for waking the threads, which its drop has the control thread do.
#[must_use = "dropping it wakes the vCPU threads"]
pub struct Wake(Option<(Resumed, Arc<Inbox>)>);

impl Wake {
    /// Nobody to wake.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Whether there is somebody to wake.
    pub fn is_somebody(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        if let Some((resumed, inbox)) = self.0.take() {
            inbox.wake_group(resumed);
        }
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let released = self.0.as_ref().map(|(resumed, _)| resumed.released());
        f.debug_tuple("Wake").field(&released).finish()
    }
}

impl Vm {
    /// What its vCPUs share.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The words of its vCPUs.
    #[must_use]
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Stops every vCPU and device worker at a consistent point. Pausing what is paused is done already.
    ///
    /// # Errors
    /// What did not stop; all run again.
    pub fn pause(&mut self) -> Result<Duration, StillError> {
        if self.held.is_none() {
            self.held = Some(Still::reach(&self.group, &self.workers, PAUSE_DEADLINE)?);
        }
        Ok(self.held.as_ref().map_or(Duration::ZERO, Still::latency))
    }

    /// Where the time of the pause went that is in force, if one is.
    pub fn pause_parts(&self) -> Option<PauseParts> {
        self.held.as_ref().map(Still::parts)
    }

    /// Lets the vCPUs go on (or, after the build, begin). Their threads wake when the answer is dropped.
    pub fn resume(&mut self) -> Wake {
        let inbox = || Arc::clone(&self.inbox);
        Wake(self.held.take().map(|held| (held.release(), inbox())))
    }

    /// Sends a non-maskable interrupt to every vCPU. One that is paused takes it when it is resumed.
    pub fn nmi(&self) {
        for vcpu in 0..self.group.len() {
            // A dead vCPU takes none.
            let _ = self.group.ask(vcpu, OneShot::Nmi);
        }
    }

    /// Ends one vCPU's thread and waits for it: the vCPU stands still until it is added again, and keeps
    /// its state. What the guest does without it is the guest's affair. NMIs that it had not taken
    /// are gone.
    ///
    /// # Errors
    /// There is no such vCPU, it has no thread, or it is the first.
    pub fn remove_vcpu(&mut self, vcpu: u32) -> Result<(), SeatError> {
        self.threads.remove(&self.group, vcpu)
    }

    /// Gives a removed vCPU a new thread, on which it goes on where it stood; at its park if the VM is
    /// held, by whomever.
    ///
    /// # Errors
    /// It is not one that was removed, or the host has no thread left; it stays removed then.
    pub fn add_vcpu(&mut self, vcpu: u32) -> Result<(), SeatError> {
        self.threads.add(Home { group: &self.group, machine: &self.machine }, vcpu)
    }

    /// Ends every vCPU and waits for its thread.
    pub fn stop(mut self) {
        self.end_threads();
    }

    fn end_threads(&mut self) {
        self.group.kill_all();
        self.threads.join();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.end_threads();
    }
}
