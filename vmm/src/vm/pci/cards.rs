//! The virtio functions of a VM, by id.
//!
//! ```text
//!   plug ──▶ Plugged ──ask──▶ Leaving ──the guest ejects──▶ finishing: workers end, the host's side closes ──▶ (free)
//!               │                 │                               ▲
//!               └─────────────────┴── the guest ejects, or the VM ends
//! ```
//!
//! Invariants: an id belongs to a card until the last thread of its device has ended and the host's side of it is
//! closed; nothing here waits for a guest, an activator or a worker, but for the drop, which is the VM's end, and that not for long:
//! threads that are in a device's code are left to end when it comes back. They hold the guest's RAM and the device until then.

use std::io;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use devices::CounterSource;
use devices::pci::{InsertError, NotRemovable, PciFunction, Slot};
use devices::virtio::{Activator, ActivatorEnd, VirtioPci, VirtioPciError};
use devices::watchdog::Watchdog;
use vcpu_state::sync::Arc;
use vcpu_state::{Deadline, Group, Ticket};

use super::PciRoot;
use super::card::{Card, State};
use crate::control::Inbox;
use crate::host_devices::HostDevice;
use crate::memory::GuestRam;
use crate::vm::still::Workers;

/// A device could not be plugged in.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// Its function cannot be made.
    #[error(transparent)]
    Function(#[from] VirtioPciError),
    /// There is no place on the bus.
    #[error(transparent)]
    Bus(#[from] InsertError),
    /// The host has no thread left.
    #[error("cannot start the activator's thread: {0}")]
    Thread(#[from] io::Error),
}

/// A device could not be asked to leave.
#[derive(Debug, thiserror::Error)]
pub enum UnplugError {
    /// The machine has none with this id.
    #[error("the machine has no device {0}")]
    Unknown(String),
    /// The bus does not let it.
    #[error(transparent)]
    Bus(#[from] NotRemovable),
}

/// A card that has left the bus, and the thread that takes it apart.
struct Finishing {
    id: String,
    thread: JoinHandle<()>,
}

/// All of them, and the thread that activates them.
pub(in crate::vm) struct Cards {
    activator: Activator,
    thread: Option<JoinHandle<()>>,
    plugged: Vec<Card>,
    finishing: Vec<Finishing>,
    vcpus: Arc<Group>,
    inbox: Arc<Inbox>,
}

/// Workers that all devices of a VM can have together, and the watchdog's clock.
const SEATS: usize = 257;

/// How long the VM's end waits for a device's code.
const GRACE: Duration = Duration::from_secs(1);

impl Cards {
    /// None yet. The watchdog's clock is a worker like theirs.
    ///
    /// # Errors
    /// The host has no thread left.
    pub(in crate::vm) fn new(
        vcpus: &Arc<Group>,
        inbox: &Arc<Inbox>,
        watchdog: Option<&Watchdog>,
    ) -> io::Result<Self> {
        let (activator, mut thread) = Activator::new(vcpus, SEATS);
        if let Some(watchdog) = watchdog {
            thread.employ("watchdog", watchdog.clock())?;
        }
        let thread =
            Builder::new().name("activator".to_owned()).spawn(move || thread.run()).map(Some)?;
        Ok(Self {
            activator,
            thread,
            plugged: Vec::new(),
            finishing: Vec::new(),
            vcpus: Arc::clone(vcpus),
            inbox: Arc::clone(inbox),
        })
    }

    /// Their workers.
    pub(in crate::vm) fn workers(&self) -> Workers {
        let names = self.activator.names();
        let group = Arc::clone(self.activator.workers());
        Workers { group, name_of: Arc::new(move |member| names.of(member)) }
    }

    /// Every worker ends, before it takes up anything else. For the VM's end.
    pub(in crate::vm) fn end_workers(&self) {
        self.activator.stop();
        self.activator.workers().kill_all();
    }

    /// Plugs a device in. The guest is not told.
    ///
    /// # Errors
    /// Something has no room; nothing is left of it then.
    pub(in crate::vm) fn plug(
        &mut self,
        root: &PciRoot,
        ram: &GuestRam,
        host: &Arc<HostDevice>,
    ) -> Result<Slot, PlugError> {
        let function = Arc::new(VirtioPci::new(
            host.virtio(ram),
            ram.memory().clone(),
            &self.activator,
            root.platform(),
            root.work(),
        )?);
        let slot = match root.insert(&(Arc::clone(&function) as Arc<dyn PciFunction>)) {
            Ok(slot) => slot,
            Err(error) => {
                // No driver has it, so nobody waits for its end.
                drop(function.remove());
                return Err(error.into());
            }
        };
        self.plugged.push(Card { slot, state: State::Plugged, host: Arc::clone(host), function });
        Ok(slot)
    }

    /// Asks the guest to let go of a device. Asking again is asking once more.
    ///
    /// # Errors
    /// There is none with this id.
    pub(in crate::vm) fn ask_removal(
        &mut self,
        root: &PciRoot,
        id: &str,
    ) -> Result<(), UnplugError> {
        let card = self.plugged.iter_mut().find(|card| card.host.id() == id);
        let card = card.ok_or_else(|| UnplugError::Unknown(id.to_owned()))?;
        root.ask_removal(card.slot)?;
        card.state = State::Leaving;
        Ok(())
    }

    /// Takes those apart that the guest has let go of, and gives the ids of those that it was not asked for; `None` if it
    /// has let go of none, as nearly always.
    pub(in crate::vm) fn collect(&mut self, root: &PciRoot) -> Option<Vec<String>> {
        self.finishing.retain(|one| !one.thread.is_finished());
        let mut next = Some(root.next_gone()?);
        let mut unasked = Vec::new();
        while let Some(slot) = next {
            next = root.next_gone();
            if let Some(place) = self.plugged.iter().position(|card| card.slot == slot) {
                let card = self.plugged.remove(place);
                if card.state == State::Plugged {
                    unasked.push(card.host.id().to_owned());
                }
                self.finish(card);
            }
        }
        Some(unasked)
    }

    /// Every card that has not been taken apart.
    pub(in crate::vm) fn iter(&self) -> impl Iterator<Item = &Card> {
        self.plugged.iter()
    }

    /// The same, for a restore.
    pub(in crate::vm) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Card> {
        self.plugged.iter_mut()
    }

    /// The ids of devices that are leaving: they cannot be used again yet.
    pub(in crate::vm) fn leaving(&self) -> impl Iterator<Item = &str> {
        let asked = self.plugged.iter().filter(|card| card.state == State::Leaving);
        let finishing = self.finishing.iter().filter(|one| !one.thread.is_finished());
        asked.map(|card| card.host.id()).chain(finishing.map(|one| one.id.as_str()))
    }

    /// Asks for what is owed to be done, of every device: each ticket is done when its device owes nothing that it owed before.
    pub(in crate::vm) fn work(&self) -> impl Iterator<Item = Ticket> {
        self.plugged.iter().map(|card| card.function.registers().work())
    }

    /// Id and slot of every device that the guest has.
    pub(in crate::vm) fn slots(&self) -> impl Iterator<Item = (&str, Slot)> {
        self.plugged.iter().map(|card| (card.host.id(), card.slot))
    }

    /// The device with this id, and a way to tell its driver that its configuration has changed.
    pub(in crate::vm) fn find(&self, id: &str) -> Option<(&HostDevice, impl Fn())> {
        let card = self.plugged.iter().find(|card| card.host.id() == id)?;
        let function = &card.function;
        Some((&*card.host, move || function.registers().interrupt().config()))
    }

    /// What counts, by its name in `vm.counters`.
    pub(in crate::vm) fn counted(&self) -> impl Iterator<Item = (String, Arc<dyn CounterSource>)> {
        self.plugged.iter().map(|card| {
            let (host, function) = (Arc::clone(&card.host), Arc::clone(&card.function));
            let counted: Arc<dyn CounterSource> = Arc::new(Counted { host, function });
            (card.host.id().to_owned(), counted)
        })
    }

    /// On a thread of its own, because a device's code may take its time to end.
    fn finish(&mut self, card: Card) {
        let id = card.host.id().to_owned();
        let (vcpus, inbox) = (Arc::clone(&self.vcpus), Arc::clone(&self.inbox));
        let ended = card.function.remove();
        let finish = move || {
            // Never late: the activator answers, or its end does.
            let _ = vcpus.wait_ticket(&ended, Deadline::Never);
            drop(card);
            inbox.wake();
        };
        match Builder::new().name("unplug".to_owned()).spawn(finish) {
            Ok(thread) => self.finishing.push(Finishing { id, thread }),
            // The card went with the closure: its workers end all the same, only unobserved.
            Err(error) => tracing::warn!("{id}: cannot wait for the end of its workers: {error}"),
        }
    }
}

impl Drop for Cards {
    fn drop(&mut self) {
        self.activator.stop();
        if self.activator.wait_end(GRACE) == ActivatorEnd::Held {
            tracing::warn!("a device's code has not come back; the VM ends without it");
            return;
        }
        // Panics have been reported by the hook.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for one in self.finishing.drain(..) {
            let _ = one.thread.join();
        }
    }
}

/// What transport and device count, together.
struct Counted {
    host: Arc<HostDevice>,
    function: Arc<VirtioPci>,
}

impl CounterSource for Counted {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut counters = self.host.counters();
        counters.extend(self.function.counters());
        counters
    }
}
