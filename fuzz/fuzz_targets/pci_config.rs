//! The configuration space of a segment, through the ECAM and through the ports, by a guest that writes anything
//! anywhere, while functions come and go. Nothing panics; both ways show the same registers, which a table of bytes with
//! write masks predicts; after a round every ticket is done, and BARs answer where registers say and nowhere else.
#![no_main]
use std::sync::Arc;

use arbitrary::Arbitrary;
use devices::pci::testing::{Bed, Tagged};
use devices::pci::{
    BarIndex, BarSpace, ConfigBuilder, ConfigSpace, EjectSink, PciAttendant, PciFunction, Slot,
};
use libfuzzer_sys::fuzz_target;
use vcpu_state::Ticket;

/// Slots that are of interest: the host bridge, functions, and one that is mostly empty.
const SLOTS: u8 = 4;
const LEN: u64 = 0x4000;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Read {
        way: Way,
        slot: u8,
        offset: u16,
        len: u8,
    },
    Write {
        way: Way,
        slot: u8,
        offset: u16,
        data: &'a [u8],
    },
    /// Writes that do something, more often than chance would.
    Place {
        slot: u8,
        place: u8,
    },
    Enable {
        slot: u8,
        command: u8,
    },
    Memory {
        place: u8,
    },
    Insert,
    Eject {
        slot: u8,
    },
    Round,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Way {
    Ecam,
    Ports,
}

/// A function as the specification has it: bytes, and which bits of them can be written.
struct Model {
    bytes: [u8; 256],
    writable: [u8; 256],
    function: Option<Arc<Tagged>>,
}

impl Model {
    fn new(function: Option<Arc<Tagged>>, bytes: [u8; 256]) -> Self {
        let mut writable = [0; 256];
        (writable[0x04], writable[0x05]) = (0x07, 0x04);
        (writable[0x0C], writable[0x3C]) = (0xFF, 0xFF);
        if function.is_some() {
            writable[0x10..0x18].copy_from_slice(&(!(LEN - 1)).to_le_bytes());
            writable[0x1C..0x20].copy_from_slice(&(!0x1F_u32).to_le_bytes());
            (writable[0x42], writable[0x43]) = (0xA5, 0xFF);
        }
        Self { bytes, writable, function }
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        for (at, value) in (usize::from(offset)..256).zip(data) {
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | value & mask;
        }
    }

    fn read(&self, offset: u16, len: usize) -> Vec<u8> {
        let at = usize::from(offset);
        (at..at + len).map(|at| self.bytes.get(at).copied().unwrap_or(0)).collect()
    }
}

fn config() -> ConfigSpace {
    let mut builder = ConfigBuilder::new(Tagged::IDENTITY);
    builder.add_bar(BarIndex(0), BarSpace::Memory64, LEN).expect("a BAR");
    builder.add_bar(BarIndex(3), BarSpace::Io, 0x20).expect("a BAR");
    builder.add_capability(&[9, 0, 0x12, 0x34], &[0, 0, 0xA5, 0xFF]).expect("a capability");
    builder.build()
}

/// Writes the address port; the data port at which the register is then.
fn select(bed: &Bed, slot: Slot, offset: u16) -> u64 {
    let address = 1 << 31 | u32::from(slot.number()) << 11 | u32::from(offset & 0xFC);
    bed.pio.write(0xCF8, &address.to_le_bytes(), |_| panic!("nothing to wait for"));
    0xCFC + u64::from(offset % 4)
}

struct Machine {
    bed: Bed,
    attendant: PciAttendant,
    models: [Option<Model>; SLOTS as usize],
    tickets: Vec<Ticket>,
}

impl Machine {
    fn new() -> Self {
        let (bed, attendant) = Bed::new().expect("a bed");
        let models = std::array::from_fn(|_| None);
        let mut machine = Self { bed, attendant, models, tickets: Vec::new() };
        let bridge = machine.snapshot(Slot::HOST_BRIDGE);
        machine.models[0] = Some(Model::new(None, bridge));
        machine.insert();
        machine.insert();
        machine
    }

    fn snapshot(&self, slot: Slot) -> [u8; 256] {
        let mut bytes = [0; 256];
        for (offset, word) in (0..).step_by(4).zip(bytes.chunks_exact_mut(4)) {
            word.copy_from_slice(&self.bed.read_config(slot, offset).to_le_bytes());
        }
        bytes
    }

    fn insert(&mut self) {
        let Some(number) = self.models.iter().position(Option::is_none) else { return };
        let number = u8::try_from(number).expect("a few");
        let slot = Slot::new(number).expect("a few");
        let function = Arc::new(Tagged::with_config(number, config()));
        // Not before a round has taken the last one apart.
        if self.bed.segment.insert_at(slot, &function.shared()).is_ok() {
            let bytes = self.snapshot(slot);
            self.models[usize::from(number)] = Some(Model::new(Some(function), bytes));
        }
    }

    fn access(way: Way, offset: u16, len: usize) -> (u16, usize) {
        let within = usize::from(offset % 4);
        match way {
            Way::Ecam => (offset % 0x1000, len.min(8)),
            // What is above the data port is another device's.
            Way::Ports => (offset % 0x100, len.min(4 - within)),
        }
    }

    fn read(&self, way: Way, slot: Slot, offset: u16, len: usize) {
        let (offset, len) = Self::access(way, offset, len);
        let mut seen = vec![0xAA; len];
        match way {
            Way::Ecam => self.bed.mmio.read(Bed::ecam(slot, offset), &mut seen),
            Way::Ports => self.bed.pio.read(select(&self.bed, slot, offset), &mut seen),
        }
        let model = self.models[usize::from(slot.number())].as_ref();
        let defined = usize::from(offset % 4) + len <= 4;
        // An access that runs into another function's window reaches that, too.
        if usize::from(offset) + len <= 0x1000 {
            let absent = || vec![0xFF; len];
            let expected = model.filter(|_| defined).map_or_else(absent, |m| m.read(offset, len));
            assert_eq!(seen, expected, "{way:?} {slot:?} {offset:#x}");
        }
    }

    fn write(&mut self, way: Way, slot: Slot, offset: u16, data: &[u8]) {
        let (offset, len) = Self::access(way, offset, data.len());
        let data = &data[..len];
        let tickets = &mut self.tickets;
        match way {
            Way::Ecam => {
                self.bed.mmio.write(Bed::ecam(slot, offset), data, |ticket| tickets.push(ticket));
            }
            Way::Ports => {
                let port = select(&self.bed, slot, offset);
                self.bed.pio.write(port, data, |ticket| tickets.push(ticket));
            }
        }
        if usize::from(offset % 4) + len <= 4
            && let Some(model) = &mut self.models[usize::from(slot.number())]
        {
            model.write(offset, data);
        }
    }

    fn round(&mut self) {
        self.attendant.round();
        assert!(self.tickets.drain(..).all(|ticket| ticket.outcome().is_some()));
        let functions = self.models.iter().flatten().filter_map(|model| model.function.as_ref());
        let wanted: Vec<u64> = functions
            .filter_map(|function| function.config().bar(BarIndex(0))?.answers_at())
            .collect();
        for (range, name) in self.bed.mmio.claims() {
            assert!(name != "tagged" || wanted.contains(&range.first()), "{range}");
        }
        for gpa in &wanted {
            let alone = wanted.iter().filter(|other| gpa.abs_diff(**other) < LEN).count() == 1;
            let over_ecam = (Bed::ECAM..Bed::ECAM + 0x10_0000).contains(gpa);
            let answers = self.bed.read_memory(*gpa) != 0xFF;
            assert!(answers || !alone || over_ecam, "nobody answers at {gpa:#x}");
        }
        assert_eq!(self.bed.platform.mistakes(), 0);
    }
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let mut machine = Machine::new();
    let slot = |number: u8| Slot::new(number % SLOTS).expect("a few");
    let place = |place: u8| 0xD000_0000_u64 + u64::from(place % 4) * LEN;
    for op in ops {
        match op {
            Op::Read { way, slot: at, offset, len } => {
                machine.read(way, slot(at), offset, usize::from(len % 8) + 1);
            }
            Op::Write { way, slot: at, offset, data } => machine.write(way, slot(at), offset, data),
            Op::Place { slot: at, place: to } => {
                machine.write(Way::Ecam, slot(at), 0x10, &place(to).to_le_bytes()[..4]);
                machine.write(Way::Ecam, slot(at), 0x14, &[0; 4]);
            }
            Op::Enable { slot: at, command } => {
                machine.write(Way::Ecam, slot(at), 0x04, &[command % 8]);
            }
            Op::Memory { place: at } => {
                let tag = machine.bed.read_memory(place(at));
                assert!(tag == 0xFF || (1..SLOTS).contains(&tag));
            }
            Op::Insert => machine.insert(),
            Op::Eject { slot: at } => {
                machine.bed.segment.eject(slot(at));
                if at % SLOTS != 0 {
                    machine.models[usize::from(at % SLOTS)] = None;
                }
            }
            Op::Round => machine.round(),
        }
    }
    machine.round();
});
