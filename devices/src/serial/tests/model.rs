//! A UART written down plainly, one field a register, to compare with.
use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Out, drain, get, recorded, set};
use crate::console::ConsoleInput;

/// The model. Its interrupt is the level that the chip's pin has.
#[derive(Default)]
struct Uart {
    enabled: [bool; 4],
    lcr: u8,
    mcr: u8,
    scratch: u8,
    divisor: [u8; 2],
    fifos: bool,
    trigger: usize,
    empty_latched: bool,
    overrun: bool,
    deltas: [bool; 4],
    received: VecDeque<u8>,
    looped: Option<u8>,
    sent: Vec<u8>,
}

impl Uart {
    fn new() -> Self {
        Self { divisor: [12, 0], trigger: 1, ..Self::default() }
    }

    fn looping(&self) -> bool {
        self.mcr & 0x10 != 0
    }

    fn held(&self) -> usize {
        self.received.len() + usize::from(self.looped.is_some())
    }

    /// Data, THR empty, line status, modem status: pending and enabled.
    fn pending(&self) -> [bool; 4] {
        let raw = [self.held() > 0, self.empty_latched, self.overrun, self.deltas.contains(&true)];
        std::array::from_fn(|i| raw[i] && self.enabled[i])
    }

    /// CTS, DSR, RI, DCD.
    fn lines(&self) -> [bool; 4] {
        if self.looping() {
            [0x02, 0x01, 0x04, 0x08].map(|bit| self.mcr & bit != 0)
        } else {
            [true, true, false, true]
        }
    }

    fn bits(flags: [bool; 4]) -> u8 {
        flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
    }

    fn read(&mut self, offset: u8) -> u8 {
        let dlab = self.lcr & 0x80 != 0;
        match offset {
            0 | 1 if dlab => self.divisor[usize::from(offset)],
            0 => self.looped.take().or_else(|| self.received.pop_front()).unwrap_or(0),
            1 => Self::bits(self.enabled),
            2 => {
                let [data, empty, line, modem] = self.pending();
                let cause = match () {
                    () if line => 0x6,
                    () if data && self.fifos && self.held() < self.trigger => 0xC,
                    () if data => 0x4,
                    () if empty => {
                        self.empty_latched = false;
                        0x2
                    }
                    () if modem => 0x0,
                    () => 0x1,
                };
                cause + if self.fifos { 0xC0 } else { 0 }
            }
            3 => self.lcr,
            4 => self.mcr,
            5 => {
                let overrun = std::mem::take(&mut self.overrun);
                0x60 + u8::from(self.held() > 0) + if overrun { 2 } else { 0 }
            }
            6 => {
                let deltas = std::mem::take(&mut self.deltas);
                Self::bits(self.lines()) << 4 | Self::bits(deltas)
            }
            _ => self.scratch,
        }
    }

    fn write(&mut self, offset: u8, value: u8) {
        let dlab = self.lcr & 0x80 != 0;
        match offset {
            0 | 1 if dlab => self.divisor[usize::from(offset)] = value,
            0 => {
                self.empty_latched = self.enabled[1];
                if !self.looping() {
                    self.sent.push(value);
                } else if self.looped.is_some() {
                    self.overrun = true;
                    if !self.fifos {
                        self.looped = Some(value);
                    }
                } else {
                    self.looped = Some(value);
                }
            }
            1 => {
                let was = self.enabled[1];
                self.enabled = std::array::from_fn(|i| value >> i & 1 != 0);
                if was != self.enabled[1] {
                    self.empty_latched = self.enabled[1];
                }
            }
            2 => {
                let on = value & 1 != 0;
                if on != self.fifos || (on && value & 2 != 0) {
                    self.received.clear();
                    self.looped = None;
                }
                self.fifos = on;
                let level = usize::from(if on { value >> 6 } else { 0 });
                self.trigger = [1, 4, 8, 14][level];
            }
            3 => self.lcr = value,
            4 => {
                let before = self.lines();
                self.mcr = value & 0x1F;
                let after = self.lines();
                for i in 0..4 {
                    let shows = if i == 2 { before[i] && !after[i] } else { before[i] != after[i] };
                    self.deltas[i] |= shows;
                }
            }
            5 | 6 => {}
            _ => self.scratch = value,
        }
    }

    fn offer(&mut self, bytes: &[u8]) -> usize {
        let depth = if self.fifos { 15 } else { 1 };
        let room = if self.looping() { 0 } else { depth - self.received.len().min(depth) };
        let taken = room.min(bytes.len());
        self.received.extend(&bytes[..taken]);
        taken
    }
}

#[derive(Clone, Debug)]
enum Op {
    Read(u8),
    Write(u8, u8),
    Offer(Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    // Values that switch something more often than chance would.
    let fcr =
        prop_oneof![Just(0), Just(1), Just(3), Just(0x41), Just(0x83), Just(0xC7), any::<u8>()];
    let lcr = prop_oneof![3 => Just(3), 1 => Just(0x83), 1 => any::<u8>()];
    prop_oneof![
        6 => (0..8_u8).prop_map(Op::Read),
        2 => any::<u8>().prop_map(|v| Op::Write(0, v)),
        2 => (0..16_u8).prop_map(|v| Op::Write(1, v)),
        1 => fcr.prop_map(|v| Op::Write(2, v)),
        1 => lcr.prop_map(|v| Op::Write(3, v)),
        1 => any::<u8>().prop_map(|v| Op::Write(4, v)),
        1 => (5..8_u8, any::<u8>()).prop_map(|(o, v)| Op::Write(o, v)),
        3 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Op::Offer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Reads, output and the input that is taken agree with the model; the interrupt comes
    /// whenever the level rises, and never while it is low; input that was refused is told as
    /// soon as half the FIFO is free.
    #[test]
    fn agrees_with_the_model(ops in prop::collection::vec(op(), 1..120)) {
        let (serial, out) = recorded();
        let mut model = Uart::new();
        let mut refused = false;
        for op in ops {
            let before = model.pending();
            match &op {
                Op::Read(offset) => prop_assert_eq!(get(&serial, *offset), model.read(*offset), "{:?}", op),
                Op::Write(offset, value) => {
                    set(&serial, *offset, *value);
                    model.write(*offset, *value);
                }
                Op::Offer(bytes) => {
                    let taken = model.offer(bytes);
                    prop_assert_eq!(serial.offer(bytes), taken, "{:?}", op);
                    refused |= taken < bytes.len();
                }
            }
            let after = model.pending();
            let happened = drain(&out);
            let sent: Vec<u8> =
                happened.iter().filter_map(|o| if let Out::Sent(b) = o { Some(*b) } else { None }).collect();
            prop_assert_eq!(&sent, &model.sent);
            model.sent.clear();

            let raised = happened.contains(&Out::Interrupt);
            if before != after && after.contains(&true) {
                prop_assert!(raised, "no edge: {:?} to {:?} by {:?}", before, after, op);
            }
            prop_assert!(!raised || after.contains(&true), "an edge on a low line by {:?}", op);

            let roomy = !model.looping() && model.received.len() <= if model.fifos { 7 } else { 0 };
            prop_assert_eq!(happened.contains(&Out::Room), refused && roomy, "{:?}", op);
            refused &= !roomy;
        }
    }

    /// A guest that deals with only the one cause that IIR names, once per interrupt, is never
    /// left with something pending.
    #[test]
    fn one_cause_per_interrupt_is_enough(
        ier in 0..16_u8,
        fifos in any::<bool>(),
        events in prop::collection::vec(prop_oneof![
            (1..30_usize).prop_map(|len| Op::Offer(vec![7; len])),
            Just(Op::Write(0, b'a')),
            (0..32_u8).prop_map(|v| Op::Write(4, v)),
        ], 1..40),
    ) {
        let (serial, out) = recorded();
        set(&serial, 2, if fifos { 0x81 } else { 0 });
        set(&serial, 1, ier);
        for event in events {
            match event {
                Op::Offer(bytes) => drop(serial.offer(&bytes)),
                Op::Write(offset, value) => set(&serial, offset, value),
                Op::Read(_) => {}
            }
            // Interrupts that arrive while one is handled become one.
            while drain(&out).contains(&Out::Interrupt) {
                match get(&serial, 2) & 0x0F {
                    0x6 => drop(get(&serial, 5)),
                    0x4 | 0xC => while get(&serial, 5) & 1 != 0 { get(&serial, 0); },
                    0x0 => drop(get(&serial, 6)),
                    _ => {}
                }
            }
            prop_assert_eq!(get(&serial, 2) & 0x0F, 0x1);
        }
    }
}
