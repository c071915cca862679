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
mod cpus;
mod dirty_log;
mod kvm;
mod machine;
mod pci;
mod power;
mod slots;
mod state;
mod still;
mod threads;
mod throttle;
mod watchdog;

use std::sync::OnceLock;
use std::time::Duration;

use devices::ged::GedEvent;
use devices::pci::Slot;
use kvm_ioctls::VmFd;
use vcpu_state::sync::Arc;
use vcpu_state::{Completer, Deadline, Group, OneShot, PauseParts, Resumed};

use crate::config::WATCHDOG_ID;
use crate::control::Inbox;
use crate::host_devices::HostDevice;
use crate::memory::PageServer;

use build::Legacy;
pub use build::{BuildError, Builder, Start, make_room_for_files};
use cpus::Cpus;
pub use cpus::{ResizeError, VcpuChange};
pub use dirty_log::{DirtyLog, DirtyLogError, LiveMemory};
pub use kvm::{KvmError, KvmHost};
pub use machine::{Counted, Machine};
use pci::{Cards, PciRoot};
pub use pci::{PlugError, UnplugError};
pub use power::{Bell, PowerRequests};
use state::MsrIndices;
pub(crate) use state::Rehearsal;
pub use state::StateError;
pub use still::{Still, StillError, Stillness};
use threads::{Home, Threads};
pub use threads::{OnVcpuEnd, SeatError};
pub use throttle::throttle;
pub use watchdog::NoWatchdog;
use watchdog::PlacedWatchdog;

/// How long a pause may take before it is reported and taken back. Generous: correctness does not
/// depend on it, and a loaded host may need a second for hundreds of vCPUs.
pub(crate) const PAUSE_DEADLINE: Deadline = Deadline::After(Duration::from_secs(30));

/// Devices that are there from the build on, by their names in `vm.counters`.
const FIXED: [&str; 2] = ["com1", "pvpanic"];

/// A virtual machine with its vCPU threads, running or held.
pub struct Vm {
    machine: Arc<Machine>,
    group: Arc<Group>,
    threads: Threads,
    stillness: Stillness,
    /// The operator's hold: there from the build to the start, and from a pause to its resume.
    held: Option<Still>,
    inbox: Arc<Inbox>,
    /// What vCPUs wait for that asked for power-off or reset; done when the VM goes away.
    #[expect(dead_code, reason = "its drop is what it is for")]
    power_taken: Completer,
    cpus: Cpus,
    legacy: Legacy,
    /// Before the bus that they are in.
    cards: Cards,
    watchdog: Option<PlacedWatchdog>,
    root: PciRoot,
    /// Found out when its vCPUs are looked at first.
    msr_indices: OnceLock<MsrIndices>,
    kvm: Arc<VmFd>,
    /// What brings memory that is still to come: behind all that may wait for it.
    pages: Option<PageServer>,
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
            self.held = Some(self.stillness.reach(PAUSE_DEADLINE)?);
        }
        Ok(self.held.as_ref().map_or(Duration::ZERO, Still::latency))
    }

    /// The same; of a VM whose memory is still to come, which may keep it from standing still for long, until `given_up`
    /// ([`Stillness::reach_unless`]).
    ///
    /// # Errors
    /// What did not stop; all run again.
    pub(crate) fn pause_unless(
        &mut self,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Duration, StillError> {
        if self.held.is_none() && self.machine.ram.missing_bytes() > 0 {
            self.held = Some(self.stillness.reach_unless(PAUSE_DEADLINE, given_up)?);
        }
        self.pause()
    }

    /// Whether its user holds it, who may be one of several.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Its memory, to be copied while it runs.
    #[must_use]
    pub fn live_memory(&self) -> LiveMemory {
        LiveMemory::new(&self.machine.ram, &self.kvm)
    }

    /// How others bring it to its still point.
    pub fn stillness(&self) -> &Stillness {
        &self.stillness
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
        for vcpu in self.cpus.plugged() {
            // A dead vCPU takes none.
            let _ = self.group.ask(vcpu as usize, OneShot::Nmi);
        }
    }

    /// Presses the power button. A guest that is paused learns of it when it is resumed.
    pub fn press_power_button(&self) {
        self.root.tell(GedEvent::PowerButton);
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
        if self.cpus.is_unplugged(vcpu) {
            return Err(SeatError::Unplugged(vcpu));
        }
        self.threads.add(Home { group: &self.group, machine: &self.machine }, vcpu)
    }

    /// Plugs a device in and has the guest look at it.
    ///
    /// # Errors
    /// There is no room; nothing is left of it then.
    pub fn plug(&mut self, device: &Arc<HostDevice>) -> Result<Slot, PlugError> {
        let slot = self.cards.plug(&self.root, &self.machine.ram, device)?;
        self.count_devices();
        self.root.announce(slot);
        Ok(slot)
    }

    /// Asks the guest to let go of a device. It goes when the guest has ejected it.
    ///
    /// # Errors
    /// There is none with this id.
    pub fn ask_removal(&mut self, id: &str) -> Result<(), UnplugError> {
        self.cards.ask_removal(&self.root, id)
    }

    /// Takes devices apart that the guest has ejected, and gives the ids of those that it was not asked for; `None` if it
    /// has ejected none. Every request asks this, a pause too, so it costs nothing then.
    pub fn collect_ejected(&mut self) -> Option<Vec<String>> {
        let unasked = self.cards.collect(&self.root)?;
        self.count_devices();
        Some(unasked)
    }

    /// Ids of devices that are leaving: they are not free yet.
    pub fn leaving(&self) -> impl Iterator<Item = &str> {
        self.cards.leaving()
    }

    /// Id and slot of every device that the guest has.
    pub fn slots(&self) -> impl Iterator<Item = (&str, Slot)> {
        let watchdog = self.watchdog.as_ref();
        self.cards.slots().chain(watchdog.map(|watchdog| (WATCHDOG_ID, watchdog.slot())))
    }

    /// A device that the guest has, and a way to tell it that the device's configuration has changed.
    pub fn device(&self, id: &str) -> Option<(&HostDevice, impl Fn())> {
        self.cards.find(id)
    }

    /// Publishes what counts in devices that come and go, beside the others.
    fn count_devices(&self) {
        let devices = &self.machine.devices;
        let watchdog = self.watchdog.as_ref().map(PlacedWatchdog::counted);
        let coming = self.root.counted().into_iter().chain(self.cards.counted());
        let coming = coming.chain([self.cpus.counted()]).chain(watchdog);
        let coming: Vec<Counted> = coming.collect();
        let fixed = devices.load();
        let fixed = fixed.iter().filter(|(name, _)| FIXED.contains(&name.as_str()));
        devices.store(Arc::new(fixed.cloned().chain(coming).collect()));
    }

    /// Ends every vCPU and waits for its thread.
    pub fn stop(mut self) {
        self.end_threads();
    }

    /// Its memory is brought by this while it runs.
    pub(crate) fn brought_by(&mut self, pages: PageServer) {
        self.pages = Some(pages);
    }

    fn end_threads(&mut self) {
        self.group.kill_all();
        if let Some(pages) = self.pages.as_ref().filter(|_| self.machine.ram.missing_bytes() > 0) {
            // vCPUs and workers may wait for pages that come late or never. All words are killed before anybody is woken without them.
            self.cards.end_workers();
            pages.give_up();
        }
        self.threads.join();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.end_threads();
    }
}
