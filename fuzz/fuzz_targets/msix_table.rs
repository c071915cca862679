//! The MSI-X table, pending bits and message control of a function, between a guest that writes anything, a
//! device that interrupts, and an attendant. Nothing panics; an interrupt is delivered exactly when a model says that the
//! vector is open, with the message of the registers, else it is pending and delivered once by the round that opens the vector.
#![no_main]
use std::sync::Arc;

use arbitrary::Arbitrary;
use devices::bus::Written;
use devices::pci::testing::{Bed, FakeLine, Tagged};
use devices::pci::{
    BarIndex, BarSpace, ConfigBuilder, Msix, MsixPlacement, PciAttendant, PciFunction, Slot,
};
use libfuzzer_sys::fuzz_target;

const VECTORS: u16 = 4;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Write {
        offset: u8,
        data: &'a [u8],
    },
    Read {
        offset: u8,
        len: u8,
    },
    ReadPending {
        offset: u8,
        len: u8,
    },
    /// A register of a vector, more often than chance would.
    Register {
        vector: u8,
        register: u8,
        value: u32,
    },
    Mask {
        vector: u8,
        masked: bool,
    },
    Control {
        enabled: bool,
        masked: bool,
    },
    Raise {
        vector: u8,
    },
    Refuse {
        vector: u8,
        refuses: bool,
    },
    Round,
}

/// One vector.
#[derive(Clone, Default)]
struct Vector {
    registers: [u32; 4],
    pending: bool,
    open: bool,
    refuses: bool,
    /// Where the line leads.
    routed: Option<(u64, u32)>,
}

impl Vector {
    fn message(&self) -> (u64, u32) {
        let [low, high, data, _] = self.registers;
        (u64::from(high) << 32 | u64::from(low), data)
    }

    fn write(&mut self, register: usize, value: u32) {
        let mask = [!3, !0, !0, 1][register];
        self.registers[register] = value & mask;
        // Clearing the mask bit closes nothing.
        if register < 3 || value & 1 != 0 {
            self.open = false;
        }
    }
}

struct Machine {
    bed: Bed,
    attendant: PciAttendant,
    function: Arc<Tagged>,
    control: u16,
    slot: Slot,
    lines: Vec<Arc<FakeLine>>,
    vectors: Vec<Vector>,
    lets_through: bool,
}

impl Machine {
    fn new() -> Self {
        let (bed, attendant) = Bed::new().expect("a bed");
        let mut builder = ConfigBuilder::new(Tagged::IDENTITY);
        builder.add_bar(BarIndex(1), BarSpace::Memory32, 0x1000).expect("a BAR");
        let placement = MsixPlacement {
            vectors: VECTORS,
            table_bar: BarIndex(1),
            table_offset: 0,
            pending_bar: BarIndex(1),
            pending_offset: 0x800,
        };
        let capability = builder.add_msix(placement).expect("a capability");
        let msix = Msix::new(&*bed.platform, VECTORS, bed.segment.work()).expect("lines");
        let function = Arc::new(Tagged::with_config(1, builder.build()).with_msix(msix));
        let slot = bed.segment.insert(&function.shared()).expect("a slot");
        let lines = bed.platform.lines();
        let reset = Vector { registers: [0, 0, 0, 1], ..Vector::default() };
        let vectors = vec![reset; usize::from(VECTORS)];
        let control = u16::from(capability) + 2;
        Self { bed, attendant, function, control, slot, lines, vectors, lets_through: false }
    }

    fn msix(&self) -> &Msix {
        self.function.msix().expect("vectors")
    }

    /// The registers that an access covers, if it is defined.
    fn covered(offset: u64, len: usize) -> Option<std::ops::Range<usize>> {
        let defined = (len == 4 || len == 8) && offset % len as u64 == 0;
        let first = usize::try_from(offset / 4).expect("small");
        defined.then(|| first..first + len / 4)
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let written = self.msix().write_table(offset, data);
        let mut means_something = false;
        for (register, bytes) in
            Self::covered(offset, data.len()).into_iter().flatten().zip(data.chunks_exact(4))
        {
            if let Some(vector) = self.vectors.get_mut(register / 4) {
                vector.write(register % 4, u32::from_le_bytes(bytes.try_into().expect("4")));
                means_something |= vector.registers[3] & 1 == 0;
            }
        }
        let waits = matches!(written, Written::Wait(_));
        assert_eq!(waits, means_something, "{data:x?} at {offset:#x}");
    }

    fn read(&self, offset: u64, len: usize) {
        let mut seen = vec![0xAA; len];
        self.msix().read_table(offset, &mut seen);
        let expected: Vec<u8> = match Self::covered(offset, len) {
            None => vec![0xFF; len],
            Some(registers) => registers
                .flat_map(|register| {
                    let vector = self.vectors.get(register / 4);
                    vector.map_or(u32::MAX, |vector| vector.registers[register % 4]).to_le_bytes()
                })
                .collect(),
        };
        assert_eq!(seen, expected);
    }

    fn read_pending(&self, offset: u64, len: usize) {
        let mut seen = vec![0xAA; len];
        self.msix().read_pending(offset, &mut seen);
        if Self::covered(offset, len).is_none() {
            assert!(seen.iter().all(|byte| *byte == 0xFF));
        } else {
            let bits = (0..).zip(&self.vectors).map(|(n, v)| u8::from(v.pending) << n).sum::<u8>();
            let mut expected = vec![0; len];
            expected[0] = if offset == 0 { bits } else { 0 };
            assert_eq!(seen, expected);
        }
    }

    fn raise(&mut self, number: u16) {
        self.msix().raise(number);
        if let Some(vector) = self.vectors.get_mut(usize::from(number)) {
            let delivered = vector.open;
            vector.pending |= !delivered;
            self.expect(number.into(), delivered);
        }
        assert!(self.lines.iter().all(|line| line.raised().is_empty()));
    }

    /// Checks that a vector has interrupted since the last look, once, or not at all.
    fn expect(&self, number: usize, delivered: bool) {
        let raised = self.lines[number].raised();
        let raised: Vec<_> =
            raised.iter().map(|message| message.map(|m| (m.address, m.data))).collect();
        let expected = if delivered { vec![Some(self.vectors[number].message())] } else { vec![] };
        assert_eq!(raised, expected, "vector {number}");
    }

    fn set_control(&mut self, enabled: bool, masked: bool) {
        let high = u8::from(enabled) << 7 | u8::from(masked) << 6;
        let tickets = self.bed.write_config(self.slot, self.control + 1, &[high]);
        assert_eq!(tickets.len(), 1);
        self.lets_through = enabled && !masked;
        for vector in &mut self.vectors {
            vector.open &= self.lets_through;
        }
    }

    fn round(&mut self) {
        if !self.attendant.round() {
            return;
        }
        for number in 0..self.vectors.len() {
            let vector = &mut self.vectors[number];
            let mut delivered = false;
            if self.lets_through && vector.registers[3] & 1 == 0 && !vector.open {
                let message = vector.message();
                vector.open = !vector.refuses || vector.routed == Some(message);
                vector.routed = vector.open.then_some(message);
                delivered = vector.open && vector.pending;
                vector.pending &= !vector.open;
            }
            self.expect(number, delivered);
        }
    }
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let mut machine = Machine::new();
    for op in ops {
        match op {
            Op::Write { offset, data } => {
                machine.write(offset.into(), &data[..data.len().min(16)]);
            }
            Op::Read { offset, len } => machine.read(offset.into(), usize::from(len % 16) + 1),
            Op::ReadPending { offset, len } => {
                machine.read_pending(offset.into(), usize::from(len % 16) + 1);
            }
            Op::Register { vector, register, value } => {
                let offset = 16 * u64::from(vector % 5) + 4 * u64::from(register % 4);
                machine.write(offset, &value.to_le_bytes());
            }
            Op::Mask { vector, masked } => {
                let offset = 16 * u64::from(vector % 5) + 12;
                machine.write(offset, &u32::from(masked).to_le_bytes());
            }
            Op::Control { enabled, masked } => machine.set_control(enabled, masked),
            Op::Raise { vector } => machine.raise(u16::from(vector % 6)),
            Op::Refuse { vector, refuses } => {
                let number = usize::from(vector) % machine.vectors.len();
                machine.lines[number].refuse(refuses);
                machine.vectors[number].refuses = refuses;
            }
            Op::Round => machine.round(),
        }
    }
    machine.round();
});
