//! A model PCI bus: production's buses, segment, hotplug registers, event device and attendant, put together as the VM
//! puts them, over a hypervisor that only remembers. Functions are tagged: each byte of a BAR reads as its tag.

use std::sync::Arc;

use devices::bus::{AddressRange, Bus, BusDevice, Mmio, Pio};
use devices::ged::{Ged, GedEvent};
use devices::pci::testing::{FakePlatform, Tagged};
use devices::pci::{
    BarSpace, Ecam, NotRemovable, PciAttendant, PciFunction, PciHotplug, PciObserver, PciSegment,
    PciWindows, PciWorld, Slot,
};
use devices::{BusError, Interrupt};
use vcpu_state::{Group, Ticket};

use crate::checker::{FutexWord, await_at_least, thread};
use crate::vcpu::Handled;

/// Where BARs go.
const MEMORY64: AddressRange<Mmio> = AddressRange::constant(1 << 40, 1 << 20);
/// Bytes of each function's BAR.
pub const BAR_LEN: u64 = 0x1000;
const ECAM: AddressRange<Mmio> = AddressRange::constant(0xB000_0000, Ecam::LEN);
const HOTPLUG: AddressRange<Mmio> = AddressRange::constant(0xC000_0000, PciHotplug::LEN);
const GED: AddressRange<Mmio> = AddressRange::constant(0xC000_1000, Ged::LEN);

/// Registers of a configuration space (PCI Local Bus 3.0, 6.1).
const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;
const MEMORY_ENABLE: u32 = 2;
/// Registers of the hotplug block.
const DOWN: u64 = 4;
const EJECT: u64 = 8;

/// The bus, as the control plane and the guest see it.
pub struct Root {
    /// The guest's memory bus.
    pub mmio: Arc<Bus<Mmio>>,
    /// The segment.
    pub segment: Arc<PciSegment>,
    hotplug: Arc<PciHotplug>,
    ged: Arc<Ged>,
    gone: Arc<Gone>,
}

/// Counts functions that are gone.
struct Gone(FutexWord);

impl PciObserver for Gone {
    fn removed(&self, _: Slot, _: Arc<dyn PciFunction>) {
        self.0.advance();
    }
}

struct NoLine;

impl Interrupt for NoLine {
    fn raise(&self) {}
}

impl Root {
    /// A bus whose tickets `vcpus` wait for, and the attendant to be run.
    ///
    /// # Panics
    /// Two of its registers overlap.
    pub fn new(vcpus: &Arc<Group>) -> (Arc<Self>, PciAttendant) {
        let mmio = Arc::new(Bus::new());
        let gone = Arc::new(Gone(FutexWord::new(0)));
        let world = PciWorld {
            mmio: Arc::clone(&mmio),
            pio: Arc::new(Bus::<Pio>::new()),
            platform: Arc::new(FakePlatform::default()),
            observer: Arc::clone(&gone) as _,
        };
        let windows = PciWindows::with_memory64(MEMORY64);
        let (segment, attendant) = PciSegment::new(vcpus, windows, world);
        let hotplug = Arc::new(PciHotplug::new(Arc::clone(&segment) as _));
        let ged = Arc::new(Ged::new(Box::new(NoLine)));
        let root = Self { mmio, segment, hotplug, ged, gone };
        let ecam = Arc::new(Ecam::new(Arc::clone(&root.segment)));
        for published in [
            root.publish(ECAM, ecam),
            root.publish(HOTPLUG, Arc::clone(&root.hotplug) as _),
            root.publish(GED, Arc::clone(&root.ged) as _),
        ] {
            assert!(published.is_ok(), "{published:?}");
        }
        (Arc::new(root), attendant)
    }

    /// Lets a device answer on the memory bus.
    ///
    /// # Errors
    /// Another one answers there.
    pub fn publish(
        &self,
        range: AddressRange<Mmio>,
        device: Arc<dyn BusDevice>,
    ) -> Result<(), BusError> {
        self.mmio.publish(range, device)
    }

    /// Puts a function in; the guest is not told.
    ///
    /// # Panics
    /// There is no room.
    pub fn insert(&self, function: &Arc<dyn PciFunction>) -> Slot {
        match self.segment.insert(function) {
            Ok(slot) => slot,
            Err(error) => panic!("no room: {error}"),
        }
    }

    /// Has the guest look at a slot.
    pub fn announce(&self, slot: Slot) {
        self.hotplug.announce(slot);
        self.ged.raise(GedEvent::PciHotplug);
    }

    /// Asks the guest to let go of the function in a slot.
    ///
    /// # Errors
    /// There is none that can be removed.
    pub fn ask_removal(&self, slot: Slot) -> Result<(), NotRemovable> {
        self.segment.ask_removal(slot)?;
        self.hotplug.ask_removal(slot);
        self.ged.raise(GedEvent::PciHotplug);
        Ok(())
    }

    /// Waits until so many functions are gone.
    pub fn await_gone(&self, count: u32) {
        await_at_least(&self.gone.0, count);
    }

    /// How many functions are gone.
    pub fn gone(&self) -> u32 {
        self.gone.0.load()
    }

    /// What answers on the memory bus besides the bus's own registers.
    pub fn answering(&self) -> Vec<(AddressRange<Mmio>, String)> {
        let own = |range: AddressRange<Mmio>| [ECAM, HOTPLUG, GED].contains(&range);
        self.mmio.claims().into_iter().filter(|(range, _)| !own(*range)).collect()
    }

    /// Guest: whether the event device tells of functions that come or go.
    pub fn read_event(&self) -> bool {
        self.read(GED.first()) & GedEvent::PciHotplug.bit() != 0
    }

    /// Guest: slots with a new function.
    pub fn read_up(&self) -> u32 {
        self.read(HOTPLUG.first())
    }

    /// Guest: slots whose function is to be given up.
    pub fn read_down(&self) -> u32 {
        self.read(HOTPLUG.first() + DOWN)
    }

    /// Guest: gives up the functions in these slots.
    ///
    /// # Panics
    /// It would have to wait for that.
    pub fn eject(&self, slots: u32) {
        let handled = self.write(HOTPLUG.first() + EJECT, slots);
        assert!(matches!(handled, Handled::Done), "an eject is a wait");
    }

    /// Guest: whether there is a function in a slot.
    pub fn is_present(&self, slot: Slot) -> bool {
        self.read(config(slot, 0)) != u32::MAX
    }

    /// Guest: lets a function answer in memory.
    pub fn enable(&self, slot: Slot) -> Handled {
        self.write(config(slot, COMMAND), MEMORY_ENABLE)
    }

    /// Guest: where a function's BAR is.
    pub fn bar(&self, slot: Slot) -> u64 {
        let [low, high] = [BAR0, BAR0 + 4].map(|at| u64::from(self.read(config(slot, at))));
        (low & !0xF) | high << 32
    }

    /// Guest: moves a function's BAR within 4 GiB.
    pub fn move_bar(&self, slot: Slot, to: u64) -> Handled {
        let low = u32::try_from(to & u64::from(u32::MAX)).unwrap_or_default();
        self.write(config(slot, BAR0), low)
    }

    /// Guest: the tag of the function that answers at an address, if one does.
    pub fn tag_at(&self, gpa: u64) -> Option<u8> {
        let mut data = [0];
        self.mmio.read(gpa, &mut data);
        (data[0] != 0xFF).then_some(data[0])
    }

    fn read(&self, gpa: u64) -> u32 {
        let mut data = [0; 4];
        self.mmio.read(gpa, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&self, gpa: u64, value: u32) -> Handled {
        let mut owed: Option<Ticket> = None;
        self.mmio.write(gpa, &value.to_le_bytes(), |ticket| owed = Some(ticket));
        owed.map_or(Handled::Done, Handled::Wait)
    }
}

/// The attendant on a thread of its own.
pub fn attend(attendant: PciAttendant) -> thread::JoinHandle<()> {
    thread::spawn(|| attendant.run())
}

/// A function with one BAR.
///
/// # Panics
/// It cannot have one.
pub fn function(tag: u8) -> Arc<dyn PciFunction> {
    match Tagged::new(tag, &[(0, BarSpace::Memory64, BAR_LEN)]) {
        Ok(function) => Arc::new(function),
        Err(error) => panic!("no function: {error}"),
    }
}

/// The bit of a slot in the hotplug registers.
pub fn bit(slot: Slot) -> u32 {
    1 << slot.number()
}

/// The GPA of a register in a slot's configuration space.
fn config(slot: Slot, offset: u64) -> u64 {
    ECAM.first() + (u64::from(slot.number()) << 15) + offset
}
