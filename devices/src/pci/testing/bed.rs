//! A segment between two buses and a hypervisor that does not exist, with its ways in published.

use std::sync::Arc;

use crossbeam_queue::SegQueue;
use vcpu_state::{Group, Kick, Ticket};

use super::platform::FakePlatform;
use crate::bus::{AddressRange, Bus, BusError, Mmio, Pio};
use crate::pci::attendant::{PciAttendant, PciObserver, PciWorld};
use crate::pci::function::PciFunction;
use crate::pci::segment::{ConfigPorts, Ecam, PciSegment, PciWindows, Slot};

/// Members of the group are nobody.
pub struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _member: usize) {}
}

/// Remembers which slots were emptied.
#[derive(Default)]
pub struct Gone {
    slots: SegQueue<Slot>,
}

impl PciObserver for Gone {
    fn removed(&self, slot: Slot, _function: Arc<dyn PciFunction>) {
        self.slots.push(slot);
    }
}

/// The segment and what is around it.
pub struct Bed {
    /// Memory; the ECAM is at [`Bed::ECAM`].
    pub mmio: Arc<Bus<Mmio>>,
    /// Ports; 0xCF8 to 0xCFF are there.
    pub pio: Arc<Bus<Pio>>,
    /// The hypervisor.
    pub platform: Arc<FakePlatform>,
    /// The segment.
    pub segment: Arc<PciSegment>,
    gone: Arc<Gone>,
}

impl Bed {
    /// Where the ECAM is.
    pub const ECAM: u64 = 0xB000_0000;
    /// The window for 64-bit BARs.
    pub const MEMORY64: AddressRange<Mmio> = AddressRange::constant(1 << 40, 1 << 36);

    /// A segment with nothing but its host bridge; the caller runs the attendant, or does its rounds.
    ///
    /// # Errors
    /// There are none but by a mistake.
    pub fn new() -> Result<(Self, PciAttendant), BusError> {
        let (mmio, pio) = (Arc::new(Bus::new()), Arc::new(Bus::new()));
        let (platform, gone) = (Arc::new(FakePlatform::default()), Arc::new(Gone::default()));
        let world = PciWorld {
            mmio: Arc::clone(&mmio),
            pio: Arc::clone(&pio),
            platform: Arc::<FakePlatform>::clone(&platform),
            observer: Arc::<Gone>::clone(&gone),
        };
        let group = Group::new(1, Box::new(NoKick));
        let windows = PciWindows::with_memory64(Self::MEMORY64);
        let (segment, attendant) = PciSegment::new(&group, windows, world);
        let ecam = AddressRange::constant(Self::ECAM, Ecam::LEN);
        mmio.publish(ecam, Arc::new(Ecam::new(Arc::clone(&segment))))?;
        pio.publish(ConfigPorts::PORTS, Arc::new(ConfigPorts::new(Arc::clone(&segment))))?;
        Ok((Self { mmio, pio, platform, segment, gone }, attendant))
    }

    /// Slots that were emptied since the last call.
    pub fn gone(&self) -> Vec<Slot> {
        std::iter::from_fn(|| self.gone.slots.pop()).collect()
    }

    /// The GPA of a register in the ECAM.
    pub fn ecam(slot: Slot, offset: u16) -> u64 {
        Self::ECAM + (u64::from(slot.number()) << 15) + u64::from(offset)
    }

    /// Writes to a configuration space through the ECAM; the tickets that it left.
    pub fn write_config(&self, slot: Slot, offset: u16, data: &[u8]) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        self.mmio.write(Self::ecam(slot, offset), data, |ticket| tickets.push(ticket));
        tickets
    }

    /// Reads a register through the ECAM.
    pub fn read_config(&self, slot: Slot, offset: u16) -> u32 {
        let mut data = [0; 4];
        self.mmio.read(Self::ecam(slot, offset), &mut data);
        u32::from_le_bytes(data)
    }

    /// Reads a byte of memory.
    pub fn read_memory(&self, gpa: u64) -> u8 {
        let mut data = [0];
        self.mmio.read(gpa, &mut data);
        data[0]
    }
}
