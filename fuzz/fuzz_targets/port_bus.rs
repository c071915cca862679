//! All the ports that a guest can touch: accesses of any width at any port, wrapping at the last
//! one. Nothing panics; ports without a device read as all ones; the machine is switched off or
//! reset by the documented values, in that order, and by no others.
#![no_main]
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use arbitrary::Arbitrary;
use devices::acpi_pm::{AcpiPm, RESET, RESET_VALUE, SLEEP_CONTROL};
use devices::console::ConsoleOutput;
use devices::debug_port::DebugPort;
use devices::i8042::I8042;
use devices::rtc::{MemorySizes, Rtc};
use devices::serial::Serial;
use devices::{Bus, CounterSource, Interrupt, Pio, PowerRequest, PowerSink};
use libfuzzer_sys::fuzz_target;

/// `SLP_TYP` 5 in bits 2 to 4, `SLP_EN` in bit 5 (ACPI 6.5, 4.8.3.7).
const POWER_OFF: u8 = 5 << 2 | 1 << 5;
/// The keyboard controller's command port and its command to pulse the reset line.
const KEYBOARD: (u16, u8) = (0x64, 0xFE);

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    /// Seconds and nanoseconds since 1970.
    now: (u64, u32),
    below_4g: u64,
    above_4g: u64,
    ops: Vec<Op<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Read { port: Port, width: u8 },
    Write { port: Port, values: &'a [u8] },
}

/// Any port, those with a device behind them more often than chance would.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Port {
    Any(u16),
    Keyboard(u8),
    Clock(u8),
    Debug(u8),
    Power(u8),
    Com1(u8),
    Com2(u8),
    Last(u8),
}

impl Port {
    /// The port and a few on either side of the device.
    fn number(self) -> u16 {
        let (base, offset) = match self {
            Self::Any(port) => (port, 0),
            Self::Keyboard(offset) => (0x5F, offset % 8),
            Self::Clock(offset) => (0x70, offset % 2),
            Self::Debug(offset) => (0x7F, offset % 3),
            Self::Power(offset) => (SLEEP_CONTROL - 1, offset % 5),
            Self::Com1(offset) => (0x3F7, offset % 10),
            Self::Com2(offset) => (0x2F7, offset % 10),
            Self::Last(offset) => (0xFFF8, offset % 8),
        };
        base + u16::from(offset)
    }
}

struct Power(Sender<PowerRequest>);

impl PowerSink for Power {
    fn request(&self, request: PowerRequest) {
        self.0.send(request).expect("somebody listens");
    }
}

struct Nobody;

impl ConsoleOutput for Nobody {
    fn send(&self, _byte: u8) {}
    fn input_has_room(&self) {}
}

impl Interrupt for Nobody {
    fn raise(&self) {}
}

struct Machine {
    bus: Bus<Pio>,
    requests: Receiver<PowerRequest>,
    debug_code: u8,
}

impl Machine {
    fn new(input: &Input<'_>) -> Self {
        let (power, requests) = channel();
        let power: Arc<dyn PowerSink> = Arc::new(Power(power));
        let sizes = MemorySizes { below_4g: input.below_4g, above_4g: input.above_4g };
        let (seconds, nanoseconds) = input.now;
        let now = Duration::new(seconds, nanoseconds % 1_000_000_000);
        let serial = || Arc::new(Serial::new(Box::new(Nobody), Arc::new(Nobody)));
        let bus = Bus::new();
        let published = [
            bus.publish(Rtc::PORTS, Arc::new(Rtc::with_clock(sizes, move || now))),
            bus.publish(I8042::PORTS, Arc::new(I8042::new(Arc::clone(&power)))),
            bus.publish(AcpiPm::PORTS, Arc::new(AcpiPm::new(power))),
            bus.publish(DebugPort::PORTS, Arc::new(DebugPort::default())),
            bus.publish(Serial::COM1, serial()),
            bus.publish(Serial::COM2, serial()),
        ];
        assert!(published.iter().all(Result::is_ok));
        Self { bus, requests, debug_code: 0 }
    }

    fn is_claimed(&self, port: u16) -> bool {
        self.bus.claims().iter().any(|(range, _)| range.contains(port.into()))
    }

    fn read(&self, first: u16, width: u8) {
        let mut data = [0x5A; 16];
        let data = &mut data[..usize::from(width % 16) + 1];
        self.bus.read(first.into(), data);
        for (offset, value) in (0..).zip(data) {
            match first.wrapping_add(offset) {
                0x80 => assert_eq!(*value, self.debug_code),
                port @ 0x600..=0x602 => assert_eq!(*value, 0, "{port:#x}"),
                port if !self.is_claimed(port) => assert_eq!(*value, 0xFF, "{port:#x}"),
                _ => {}
            }
        }
        assert_eq!(self.requests.try_iter().count(), 0, "a read switches nothing");
    }

    fn write(&mut self, first: u16, values: &[u8]) {
        let values = &values[..values.len().min(16)];
        self.bus.write(first.into(), values, |_| panic!("no device here makes a vCPU wait"));
        let mut expected = Vec::new();
        for (offset, value) in (0..).zip(values) {
            match (first.wrapping_add(offset), *value) {
                (SLEEP_CONTROL, POWER_OFF) => expected.push(PowerRequest::Shutdown),
                (SLEEP_CONTROL | RESET, RESET_VALUE) | KEYBOARD => {
                    expected.push(PowerRequest::Reset);
                }
                (0x80, code) => self.debug_code = code,
                _ => {}
            }
        }
        let requests: Vec<_> = self.requests.try_iter().collect();
        assert_eq!(requests, expected, "{values:x?} to {first:#x}");
    }
}

fuzz_target!(|input: Input<'_>| {
    let mut machine = Machine::new(&input);
    for op in &input.ops {
        match *op {
            Op::Read { port, width } => machine.read(port.number(), width),
            Op::Write { port, values } => machine.write(port.number(), values),
        }
    }
    assert_eq!(machine.bus.counters().len(), 2);
});
