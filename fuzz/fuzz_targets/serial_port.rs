//! A serial port between a guest that does anything and a host that types: nothing panics, bytes
//! are neither lost nor made up nor reordered on either way, interrupts come only when they are
//! enabled, and input that had to wait is called for as soon as there is room.
#![no_main]
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use arbitrary::Arbitrary;
use devices::bus::BusDevice;
use devices::console::{ConsoleInput, ConsoleOutput};
use devices::serial::Serial;
use devices::{CounterSource, Interrupt};
use libfuzzer_sys::fuzz_target;

/// Registers of the chip, and bits in them (PC16550D data sheet, section 8).
const DATA: u8 = 0;
const ENABLE: u8 = 1;
const FIFO_CONTROL: u8 = 2;
const LINE_CONTROL: u8 = 3;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
const SCRATCH: u8 = 7;
const DIVISOR_SELECTED: u8 = 0x80;
const LOOPBACK: u8 = 0x10;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Read {
        register: u8,
        width: u8,
    },
    Write {
        register: u8,
        values: &'a [u8],
    },
    /// A write of a single byte to the data register, often enough to matter.
    Send(u8),
    Receive,
    Offer(&'a [u8]),
}

/// The host.
struct Host {
    sent: Sender<u8>,
    called: AtomicU64,
    interrupts: AtomicU64,
}

impl ConsoleOutput for Host {
    fn send(&self, byte: u8) {
        self.sent.send(byte).expect("somebody listens");
    }
    fn input_has_room(&self) {
        self.called.fetch_add(1, Ordering::Relaxed);
    }
}

struct Line(Arc<Host>);

impl Interrupt for Line {
    fn raise(&self) {
        self.0.interrupts.fetch_add(1, Ordering::Relaxed);
    }
}

/// What can be told from outside: where bytes are, and the registers that decide where they go.
#[derive(Default)]
struct Model {
    line_control: u8,
    modem_control: u8,
    enabled: u8,
    scratch: u8,
    fifos: bool,
    sent: VecDeque<u8>,
    received: VecDeque<u8>,
    looped: Option<u8>,
    discarded: u64,
    input_waits: bool,
}

impl Model {
    fn divisor_selected(&self) -> bool {
        self.line_control & DIVISOR_SELECTED != 0
    }

    fn loops(&self) -> bool {
        self.modem_control & LOOPBACK != 0
    }

    fn write(&mut self, register: u8, value: u8) {
        match register {
            DATA | ENABLE if self.divisor_selected() => {}
            DATA if !self.loops() => self.sent.push_back(value),
            // With FIFOs what is there stays, without them it is replaced.
            DATA if self.looped.is_none() || !self.fifos => self.looped = Some(value),
            ENABLE => self.enabled = value & 0x0F,
            FIFO_CONTROL => {
                let on = value & 1 != 0;
                if on != self.fifos || (on && value & 2 != 0) {
                    self.discarded += self.received.len() as u64;
                    self.received.clear();
                    self.looped = None;
                }
                self.fifos = on;
            }
            LINE_CONTROL => self.line_control = value,
            MODEM_CONTROL => self.modem_control = value,
            SCRATCH => self.scratch = value,
            _ => {}
        }
    }

    /// Checks what a register was read as.
    fn read(&mut self, register: u8, value: u8) {
        match register {
            DATA | ENABLE if self.divisor_selected() => {}
            DATA => {
                let expected = self.looped.take().or_else(|| self.received.pop_front());
                assert_eq!(value, expected.unwrap_or(0));
            }
            ENABLE => assert_eq!(value, self.enabled),
            LINE_CONTROL => assert_eq!(value, self.line_control),
            LINE_STATUS => {
                let ready = self.looped.is_some() || !self.received.is_empty();
                assert_eq!(value & 1 != 0, ready);
                assert_eq!(value & 0x60, 0x60, "the transmitter is always empty");
            }
            SCRATCH => assert_eq!(value, self.scratch),
            _ => {}
        }
    }

    fn room(&self) -> bool {
        !self.loops() && self.received.len() < if self.fifos { 15 } else { 1 }
    }
}

fn check(op: &Op<'_>, port: &Serial, host: &Host, model: &mut Model) {
    let (interrupts, called) =
        (host.interrupts.load(Ordering::Relaxed), host.called.load(Ordering::Relaxed));
    let enabled_before = model.enabled;
    match *op {
        Op::Read { register, width } => {
            let mut data = [0x5A; 8];
            let data = &mut data[..usize::from(width % 8) + 1];
            port.read(register.into(), data);
            for (register, value) in (u64::from(register)..).zip(data) {
                model.read((register % 8) as u8, *value);
            }
        }
        Op::Write { register, values } => {
            let values = &values[..values.len().min(8)];
            let _ = port.write(register.into(), values);
            for (register, value) in (u64::from(register)..).zip(values) {
                model.write((register % 8) as u8, *value);
            }
        }
        Op::Send(byte) => {
            let _ = port.write(DATA.into(), &[byte]);
            model.write(DATA, byte);
        }
        Op::Receive => {
            let mut data = [0];
            port.read(DATA.into(), &mut data);
            model.read(DATA, data[0]);
        }
        Op::Offer(bytes) => {
            let taken = port.offer(bytes);
            for byte in &bytes[..taken] {
                assert!(model.room(), "{byte:#x} has no room");
                model.received.push_back(*byte);
            }
            assert!(taken == bytes.len() || !model.room(), "only {taken} were taken");
            model.input_waits |= taken < bytes.len();
        }
    }
    let raised = host.interrupts.load(Ordering::Relaxed) - interrupts;
    assert!(raised == 0 || (enabled_before | model.enabled) != 0, "an interrupt out of nothing");
    if host.called.load(Ordering::Relaxed) > called {
        assert!(model.input_waits, "called for input that does not wait");
        model.input_waits = false;
    }
    assert!(
        !(model.input_waits && model.room() && model.received.is_empty()),
        "input waits at an empty port"
    );
}

fn received(receiver: &Receiver<u8>) -> Vec<u8> {
    receiver.try_iter().collect()
}

fuzz_target!(|ops: Vec<Op<'_>>| {
    let (sent, wire) = channel();
    let host = Arc::new(Host { sent, called: AtomicU64::new(0), interrupts: AtomicU64::new(0) });
    let port = Serial::new(Box::new(Line(Arc::clone(&host))), Arc::clone(&host) as _);
    let mut model = Model::default();
    let (mut out, mut offered) = (0, 0);
    for op in &ops {
        let before = model.received.len() as u64;
        check(op, &port, &host, &mut model);
        if let Op::Offer(_) = op {
            offered += model.received.len() as u64 - before;
        }
        let bytes = received(&wire);
        out += bytes.len() as u64;
        assert_eq!(bytes, Vec::from(std::mem::take(&mut model.sent)));
    }
    let counters = port.counters();
    let counter = |name| counters.iter().find(|(known, _)| *known == name).expect("it exists").1;
    assert_eq!(counter("bytes_sent"), out);
    assert_eq!(counter("interrupts"), host.interrupts.load(Ordering::Relaxed));
    assert_eq!(counter("bytes_discarded"), model.discarded);
    let held = model.received.len() as u64;
    assert_eq!(counter("bytes_received") + model.discarded + held, offered);
});
