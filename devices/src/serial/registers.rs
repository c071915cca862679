//! The register file of a 16550A in one 64-bit word.
//!
//! | bits | field | |
//! |---|---|---|
//! | 0–3 | IER | interrupt enable: data, THR empty, line status, modem status |
//! | 4–11 | LCR | line control; bit 7 is DLAB |
//! | 12–16 | MCR | modem control; bit 4 is loopback |
//! | 17 | FIFO | the FIFOs are on (FCR bit 0) |
//! | 18–19 | TRIGGER | receive trigger level, as coded in FCR bits 6 and 7 |
//! | 20–27 | SCR | scratch |
//! | 28–43 | DL | divisor latch |
//! | 44 | THRE | the "THR empty" interrupt is pending |
//! | 45 | OVERRUN | LSR bit 1 |
//! | 46–49 | DELTA | MSR bits 0 to 3: modem lines that changed |
//! | 50–53 | RX | bytes from the host that the receive FIFO holds, 0 to 15 |
//! | 54 | LOOP | LOOPED holds a byte that the guest sent to itself |
//! | 55–62 | LOOPED | that byte |
//! | 63 | WAITS | the host's input waits for room |
//!
//! What is not in it follows from it: the transmitter is always empty, because a byte that is
//! written is gone at once, so LSR bits 5 and 6 are always set; LSR bit 0 is RX or LOOP; the
//! interrupt that IIR names is the first of those that are pending and enabled.

/// A run of bits in the word.
#[derive(Clone, Copy)]
pub(super) struct Field {
    shift: u32,
    mask: u64,
}

const fn field(shift: u32, width: u32) -> Field {
    Field { shift, mask: (1 << width) - 1 }
}

pub(super) const IER: Field = field(0, 4);
pub(super) const LCR: Field = field(4, 8);
pub(super) const MCR: Field = field(12, 5);
pub(super) const FIFO: Field = field(17, 1);
pub(super) const TRIGGER: Field = field(18, 2);
pub(super) const SCR: Field = field(20, 8);
pub(super) const DLL: Field = field(28, 8);
pub(super) const DLM: Field = field(36, 8);
pub(super) const THRE: Field = field(44, 1);
pub(super) const OVERRUN: Field = field(45, 1);
pub(super) const DELTA: Field = field(46, 4);
pub(super) const RX: Field = field(50, 4);
pub(super) const LOOP: Field = field(54, 1);
pub(super) const LOOPED: Field = field(55, 8);
pub(super) const WAITS: Field = field(63, 1);

/// IER and the set of pending interrupts: received data.
pub(super) const DATA: u8 = 1 << 0;
/// THR empty.
pub(super) const THR_EMPTY: u8 = 1 << 1;
/// Line status (here: overrun).
pub(super) const LINE: u8 = 1 << 2;
/// Modem status.
pub(super) const MODEM: u8 = 1 << 3;

/// LCR: offsets 0 and 1 are the divisor latch.
pub(super) const LCR_DLAB: u8 = 0x80;
/// MCR: what is sent is received, and the modem lines are fed by MCR.
pub(super) const MCR_LOOP: u8 = 0x10;

/// MSR: clear to send, data set ready, carrier: a null-modem cable with somebody at the other
/// end.
const CONNECTED: u8 = 0x10 | 0x20 | 0x80;

/// Bytes from the host that the receive FIFO holds at most. A 16550A has room for 16; a guest
/// cannot tell, because its FIFO fills while it reads.
pub(super) const RX_DEPTH: u8 = 15;

/// The register file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Registers(pub(super) u64);

impl Registers {
    /// After a reset: 8250-family data sheets clear everything; the divisor is undefined there
    /// and stands for 9600 baud here.
    pub(super) const RESET: Self = Self(0).with(DLL, 12);

    pub(super) const fn get(self, field: Field) -> u8 {
        // No field is wider than a byte.
        (self.0 >> field.shift & field.mask).to_le_bytes()[0]
    }

    pub(super) const fn has(self, field: Field) -> bool {
        self.get(field) != 0
    }

    pub(super) const fn with(self, field: Field, value: u8) -> Self {
        let value = value as u64 & field.mask;
        Self(self.0 & !(field.mask << field.shift) | value << field.shift)
    }

    pub(super) const fn loopback(self) -> bool {
        self.get(MCR) & MCR_LOOP != 0
    }

    pub(super) const fn divisor_selected(self) -> bool {
        self.get(LCR) & LCR_DLAB != 0
    }

    pub(super) const fn data_ready(self) -> bool {
        self.has(RX) || self.has(LOOP)
    }

    /// Interrupts that are pending and enabled, as IER codes them.
    pub(super) const fn pending(self) -> u8 {
        let data = if self.data_ready() { DATA } else { 0 };
        let empty = if self.has(THRE) { THR_EMPTY } else { 0 };
        let line = if self.has(OVERRUN) { LINE } else { 0 };
        let modem = if self.has(DELTA) { MODEM } else { 0 };
        (data | empty | line | modem) & self.get(IER)
    }

    /// How many bytes the FIFO must hold for "data available"; with fewer, IIR says "character
    /// time-out", which here needs no time.
    const fn trigger_level(self) -> u8 {
        match self.get(TRIGGER) {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        }
    }

    /// The interrupt identification register.
    pub(super) const fn iir(self) -> u8 {
        let pending = self.pending();
        let cause = if pending & LINE != 0 {
            0x06
        } else if pending & DATA != 0 {
            let held = self.get(RX) + self.get(LOOP);
            if self.has(FIFO) && held < self.trigger_level() { 0x0C } else { 0x04 }
        } else if pending & THR_EMPTY != 0 {
            0x02
        } else if pending & MODEM != 0 {
            0x00
        } else {
            0x01
        };
        cause | if self.has(FIFO) { 0xC0 } else { 0 }
    }

    /// The line status register.
    pub(super) const fn lsr(self) -> u8 {
        0x60 | (self.data_ready() as u8) | self.get(OVERRUN) << 1
    }

    /// The modem lines as the upper half of MSR shows them.
    const fn lines(self) -> u8 {
        if !self.loopback() {
            return CONNECTED;
        }
        let mcr = self.get(MCR);
        // RTS → CTS, DTR → DSR, OUT1 → RI, OUT2 → DCD.
        (mcr & 0x02) << 3 | (mcr & 0x01) << 5 | (mcr & 0x04) << 4 | (mcr & 0x08) << 4
    }

    /// The modem status register.
    pub(super) const fn msr(self) -> u8 {
        self.lines() | self.get(DELTA)
    }

    /// Sets MCR, and notes which modem lines change by it; of RI, only the end of the ring.
    pub(super) const fn with_mcr(self, value: u8) -> Self {
        let next = self.with(MCR, value);
        let changed = self.lines() ^ next.lines();
        let ring_ends = changed & self.lines() & 0x40;
        let delta = (changed & 0xB0 | ring_ends) >> 4;
        next.with(DELTA, self.get(DELTA) | delta)
    }

    /// Whether the receiver takes another byte from the host: it is not in loopback, and its
    /// FIFO (or, with the FIFOs off, its one register) has room.
    pub(super) const fn room(self) -> bool {
        let depth = if self.has(FIFO) { RX_DEPTH } else { 1 };
        !self.loopback() && self.get(RX) < depth
    }

    /// Whether there is so much room that input which waits should be told: half the FIFO.
    pub(super) const fn roomy(self) -> bool {
        self.room() && self.get(RX) <= RX_DEPTH / 2
    }
}
