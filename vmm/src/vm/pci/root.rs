//! The PCI bus of a VM: its registers on the machine's buses, its attendant's thread, and the way of a function in and out.
//!
//! ```text
//!   insert ─▶ (guest sees it) ─ announce ─▶ GED ─▶ guest probes
//!   ask_removal ─▶ GED ─▶ guest lets go ─▶ B0EJ ─▶ attendant unmaps it ─▶ Gone ─▶ the owner of the VM
//! ```

use std::thread::{Builder, JoinHandle};

use crossbeam_queue::SegQueue;
use devices::CounterSource;
use devices::bus::{AddressRange, BusError, Mmio};
use devices::ged::{Ged, GedEvent};
use devices::pci::{
    ConfigPorts, Ecam, InsertError, NotRemovable, PciFunction, PciHotplug, PciObserver, PciSegment,
    PciWindows, PciWorld, Slot,
};
use kvm_ioctls::VmFd;
use vcpu_state::sync::Arc;
use vcpu_state::{Group, WorkItem};

use super::KvmPlatform;
use crate::control::Inbox;
use crate::memory::layout;
use crate::vm::Machine;
use crate::vm::build::{BuildError, IrqLine};

/// The bus with all that belongs to it.
pub(in crate::vm) struct PciRoot {
    segment: Arc<PciSegment>,
    hotplug: Arc<PciHotplug>,
    ged: Arc<Ged>,
    ports: Arc<ConfigPorts>,
    gone: Arc<Gone>,
    platform: Arc<KvmPlatform>,
    attendant: Option<JoinHandle<()>>,
}

/// Slots whose functions are gone, for the owner of the VM.
struct Gone {
    slots: SegQueue<Slot>,
    inbox: Arc<Inbox>,
}

impl PciObserver for Gone {
    fn removed(&self, slot: Slot, function: Arc<dyn PciFunction>) {
        // The owner has it, too, and takes it apart.
        drop(function);
        self.slots.push(slot);
        self.inbox.wake();
    }
}

impl PciRoot {
    /// A bus without functions but its bridge, on the machine's buses.
    ///
    /// # Errors
    /// The host refuses the event's interrupt, or has no thread left.
    pub(in crate::vm) fn new(
        vm: &Arc<VmFd>,
        machine: &Machine,
        group: &Arc<Group>,
        windows: layout::PciWindows,
        inbox: &Arc<Inbox>,
    ) -> Result<Self, BuildError> {
        let platform = Arc::new(KvmPlatform::new(vm));
        let gone = Arc::new(Gone { slots: SegQueue::new(), inbox: Arc::clone(inbox) });
        let world = PciWorld {
            mmio: Arc::clone(&machine.mmio),
            pio: Arc::clone(&machine.pio),
            platform: Arc::clone(&platform) as _,
            observer: Arc::clone(&gone) as _,
        };
        let (segment, attendant) = PciSegment::new(group, of_layout(windows)?, world);
        let hotplug = Arc::new(PciHotplug::new(Arc::clone(&segment) as _));
        let line = IrqLine::new(vm, "the general event device", layout::GED_GSI)?;
        let ged = Arc::new(Ged::new(Box::new(line)));
        let ports = Arc::new(ConfigPorts::new(Arc::clone(&segment)));

        let failed = |device| move |error: BusError| refused(device, &error);
        let mmio = |start: u64, len| {
            AddressRange::<Mmio>::new(start, len).map_err(|error| refused("PCI", &error))
        };
        let ecam = mmio(layout::ECAM.0, layout::ECAM_SIZE)?;
        machine
            .mmio
            .publish(ecam, Arc::new(Ecam::new(Arc::clone(&segment))))
            .map_err(failed("PCI configuration space"))?;
        machine
            .pio
            .publish(ConfigPorts::PORTS, Arc::clone(&ports) as _)
            .map_err(failed("PCI configuration ports"))?;
        machine
            .mmio
            .publish(mmio(layout::PCI_HOTPLUG.0, PciHotplug::LEN)?, Arc::clone(&hotplug) as _)
            .map_err(failed("PCI hotplug registers"))?;
        machine
            .mmio
            .publish(mmio(layout::GED.0, Ged::LEN)?, Arc::clone(&ged) as _)
            .map_err(failed("the general event device"))?;
        let thread = Builder::new()
            .name("pci".to_owned())
            .stack_size(STACK)
            .spawn(move || attendant.run())
            .map_err(|error| refused("PCI", &error))?;
        Ok(Self { segment, hotplug, ged, ports, gone, platform, attendant: Some(thread) })
    }

    /// The hypervisor, for functions.
    pub(in crate::vm) fn platform(&self) -> &KvmPlatform {
        &self.platform
    }

    /// What functions ask the attendant with.
    pub(in crate::vm) fn work(&self) -> &Arc<WorkItem> {
        self.segment.work()
    }

    /// The bus itself.
    pub(in crate::vm) fn segment(&self) -> &PciSegment {
        &self.segment
    }

    /// The registers through which the guest learns of functions that come and go.
    pub(in crate::vm) fn hotplug(&self) -> &PciHotplug {
        &self.hotplug
    }

    /// The registers of events.
    pub(in crate::vm) fn ged(&self) -> &Ged {
        &self.ged
    }

    /// The address and data ports.
    pub(in crate::vm) fn ports(&self) -> &ConfigPorts {
        &self.ports
    }

    /// Puts a function in; a guest that looks finds it.
    ///
    /// # Errors
    /// There is no room.
    pub(in crate::vm) fn insert(
        &self,
        function: &Arc<dyn PciFunction>,
    ) -> Result<Slot, InsertError> {
        self.segment.insert(function)
    }

    /// Tells the guest of an event.
    pub(in crate::vm) fn tell(&self, event: GedEvent) {
        self.ged.raise(event);
    }

    /// Puts a function in that cannot be removed.
    ///
    /// # Errors
    /// There is no room.
    pub(in crate::vm) fn insert_fixed(
        &self,
        function: &Arc<dyn PciFunction>,
    ) -> Result<Slot, InsertError> {
        self.segment.insert_fixed(function)
    }

    /// Has the guest look at a slot.
    pub(in crate::vm) fn announce(&self, slot: Slot) {
        self.hotplug.announce(slot);
        self.ged.raise(GedEvent::PciHotplug);
    }

    /// Asks the guest to let go of the function in a slot.
    ///
    /// # Errors
    /// There is none, or none that can be removed.
    pub(in crate::vm) fn ask_removal(&self, slot: Slot) -> Result<(), NotRemovable> {
        self.segment.ask_removal(slot)?;
        self.hotplug.ask_removal(slot);
        self.ged.raise(GedEvent::PciHotplug);
        Ok(())
    }

    /// A slot whose function is gone since the last call.
    pub(in crate::vm) fn next_gone(&self) -> Option<Slot> {
        self.gone.slots.pop()
    }

    /// What counts, by its name in `vm.counters`.
    pub(in crate::vm) fn counted(&self) -> [(String, Arc<dyn CounterSource>); 3] {
        [
            ("pci".to_owned(), Arc::clone(&self.segment) as _),
            ("pci_hotplug".to_owned(), Arc::clone(&self.hotplug) as _),
            ("ged".to_owned(), Arc::clone(&self.ged) as _),
        ]
    }
}

impl Drop for PciRoot {
    fn drop(&mut self) {
        self.segment.stop();
        if let Some(thread) = self.attendant.take() {
            // A panic has been reported by the hook.
            let _ = thread.join();
        }
    }
}

/// The attendant's loop is flat.
const STACK: usize = 256 << 10;

fn of_layout(windows: layout::PciWindows) -> Result<PciWindows, BuildError> {
    let range = |(start, end): (u64, u64)| {
        AddressRange::new(start, end - start).map_err(|error| refused("PCI", &error))
    };
    let memory32 = range(windows.low)?;
    let memory64 = windows.high.map_or(Ok(memory32), range)?;
    Ok(PciWindows { memory32, memory64, io: PciWindows::IO })
}

fn refused(device: &'static str, error: &dyn std::fmt::Display) -> BuildError {
    BuildError::Device { device, reason: error.to_string() }
}
