//! The registers by which vCPUs and PCI functions come and go, and those of events, between a guest that reads and writes anything from
//! several vCPUs and a host that inserts, asks, takes back and vacates in between. Nothing panics and no access waits for another
//! thread; a slot goes only the ways that it may; what is announced is read once; an ejection reaches its sink, and nothing else does.
#![no_main]
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::Arbitrary;
use devices::CounterSource;
use devices::bus::{BusDevice, Written};
use devices::cpu_hotplug::{CpuHotplugController, EjectedSink, Presence};
use devices::ged::{Ged, GedEvent};
use devices::interrupt::Interrupt;
use devices::pci::{EjectSink, PciHotplug, Slot};
use libfuzzer_sys::fuzz_target;

/// vCPUs that there can be, more than a byte's worth of selections away from what is possible.
const POSSIBLE: u32 = 12;
const EVENTS: [GedEvent; 4] =
    [GedEvent::CpuHotplug, GedEvent::MemoryHotplug, GedEvent::PciHotplug, GedEvent::PowerButton];

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Block {
    Cpus,
    Pci,
    Ged,
}

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    /// Any access of the guest.
    Read {
        block: Block,
        offset: u8,
        len: u8,
    },
    Write {
        block: Block,
        offset: u8,
        data: &'a [u8],
    },
    /// Accesses as the AML makes them, more often than chance would.
    Select(u8),
    Status(u8),
    Next,
    Eject(u32),
    /// What the host does.
    Insert(u8),
    AskRemoval(u8),
    Cancel(u8),
    TakeEjected,
    Vacate(u8),
    Announce(u8),
    AskPciRemoval(u8),
    Raise(u8),
}

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    present: u8,
    ops: Vec<Op<'a>>,
    /// Accesses of a second vCPU at the same time, whose interleaving is the machine's.
    together: Vec<(Block, u8, [u8; 4])>,
}

#[derive(Default)]
struct Sink {
    vcpus: AtomicU64,
    functions: AtomicU64,
    edges: AtomicU64,
}

struct Hears(Arc<Sink>);

impl EjectedSink for Hears {
    fn ejected(&self) {
        self.0.vcpus.fetch_add(1, Ordering::Relaxed);
    }
}

impl EjectSink for Hears {
    fn eject(&self, _: Slot) {
        self.0.functions.fetch_add(1, Ordering::Relaxed);
    }
}

impl Interrupt for Hears {
    fn raise(&self) {
        self.0.edges.fetch_add(1, Ordering::Relaxed);
    }
}

struct Machine {
    cpus: CpuHotplugController,
    pci: PciHotplug,
    ged: Ged,
    heard: Arc<Sink>,
    /// Announcements and events that the guest has not read.
    up: u32,
    down: u32,
    events: u32,
    raised: u64,
}

impl Machine {
    fn new(present: u32) -> Self {
        let heard = Arc::new(Sink::default());
        let hears = || Hears(Arc::clone(&heard));
        Self {
            cpus: CpuHotplugController::new(present, POSSIBLE, Arc::new(hears())),
            pci: PciHotplug::new(Arc::new(hears())),
            ged: Ged::new(Box::new(hears())),
            heard,
            up: 0,
            down: 0,
            events: 0,
            raised: 0,
        }
    }

    fn block(&self, block: Block) -> &dyn BusDevice {
        match block {
            Block::Cpus => &self.cpus,
            Block::Pci => &self.pci,
            Block::Ged => &self.ged,
        }
    }

    fn presences(&self) -> Vec<Presence> {
        (0..POSSIBLE).map(|vcpu| self.cpus.presence(vcpu)).collect()
    }

    fn read(&mut self, block: Block, offset: u8, len: u8) {
        let (offset, len) = (u64::from(offset % 20), usize::from(len % 9));
        let mut data = vec![0xAA; len];
        self.block(block).read(offset, &mut data);
        let expected = match (block, offset, len) {
            (Block::Pci, 0, 4) => std::mem::take(&mut self.up),
            (Block::Pci, 4, 4) => std::mem::take(&mut self.down),
            (Block::Ged, 0, 4) => std::mem::take(&mut self.events),
            (Block::Cpus, 0 | 4, 4) => return self.check_cpu_register(offset, &data),
            _ => 0,
        };
        let zeros = vec![0; len];
        let expected = if len == 4 { expected.to_le_bytes().to_vec() } else { zeros };
        assert_eq!(data, expected, "{block:?} at {offset}");
    }

    fn check_cpu_register(&self, offset: u64, data: &[u8]) {
        let value = u32::from_le_bytes(data.try_into().expect("four bytes"));
        if offset == 0 {
            assert!(value < POSSIBLE || value == u32::MAX, "{value} is selected");
        } else {
            assert!(value < 8 && (value == 0 || value & 1 != 0), "status {value:#x}");
        }
    }

    fn write(&self, block: Block, offset: u8, data: &[u8]) {
        let data = &data[..data.len().min(8)];
        let written = self.block(block).write(u64::from(offset % 20), data);
        assert!(matches!(written, Written::Done), "a vCPU would wait");
    }

    fn apply(&mut self, op: &Op<'_>) {
        let vcpu = |number: &u8| u32::from(*number) % (POSSIBLE + 1);
        let slot = |number: &u8| Slot::new(number % 32).expect("one of 32");
        match op {
            Op::Read { block, offset, len } => self.read(*block, *offset, *len),
            Op::Write { block, offset, data } => self.write(*block, *offset, data),
            Op::Select(number) => self.write(Block::Cpus, 0, &vcpu(number).to_le_bytes()),
            Op::Status(value) => self.write(Block::Cpus, 4, &u32::from(*value).to_le_bytes()),
            Op::Next => self.write(Block::Cpus, 8, &[0; 4]),
            Op::Eject(slots) => self.write(Block::Pci, 8, &slots.to_le_bytes()),
            Op::Insert(number) => {
                let was = self.cpus.presence(vcpu(number));
                let done = self.cpus.insert(vcpu(number)).is_ok();
                assert_eq!(done, was == Presence::Absent && vcpu(number) < POSSIBLE);
            }
            Op::AskRemoval(number) => {
                let was = self.cpus.presence(vcpu(number));
                let done = self.cpus.ask_removal(vcpu(number)).is_ok();
                assert_eq!(done, matches!(was, Presence::Inserting | Presence::Present));
            }
            Op::Cancel(number) => {
                let was = self.cpus.presence(vcpu(number));
                let done = self.cpus.cancel_removal(vcpu(number)).is_ok();
                assert_eq!(done, was == Presence::Removing);
            }
            Op::TakeEjected => {
                for vcpu in self.cpus.take_ejected() {
                    assert_eq!(self.cpus.presence(vcpu), Presence::Ejected);
                }
                assert!(self.cpus.take_ejected().is_empty(), "nothing came since");
            }
            Op::Vacate(number) => {
                let was = self.cpus.presence(vcpu(number));
                let done = self.cpus.vacate(vcpu(number)).is_ok();
                assert_eq!(done, was == Presence::Ejected);
            }
            Op::Announce(number) => {
                self.pci.announce(slot(number));
                self.up |= 1 << (number % 32);
            }
            Op::AskPciRemoval(number) => {
                self.pci.ask_removal(slot(number));
                self.down |= 1 << (number % 32);
            }
            Op::Raise(number) => {
                let event = EVENTS[usize::from(*number) % EVENTS.len()];
                self.ged.raise(event);
                self.events |= event.bit();
                self.raised += 1;
            }
        }
    }

    /// What no access of the guest may do, whatever it was.
    fn check(&self, op: &Op<'_>, before: &[Presence]) {
        let is_guests = matches!(
            op,
            Op::Read { .. }
                | Op::Write { .. }
                | Op::Select(_)
                | Op::Status(_)
                | Op::Next
                | Op::Eject(_)
        );
        let after = self.presences();
        assert!(after[0] != Presence::Ejected && after[0] != Presence::Absent, "{op:?}");
        for (before, after) in before.iter().zip(&after).filter(|_| is_guests) {
            let gone = [Presence::Absent, Presence::Ejected];
            assert!(!gone.contains(before) || before == after, "{op:?}: {before:?} to {after:?}");
            assert!(*after != Presence::Absent || *before == Presence::Absent, "{op:?}");
        }
        self.check_counts();
    }

    fn check_counts(&self) {
        let count = |of: &dyn CounterSource, name| {
            of.counters().into_iter().find(|(known, _)| *known == name).expect("it counts").1
        };
        let heard = |count: &AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!(count(&self.cpus, "ejections"), heard(&self.heard.vcpus));
        assert_eq!(count(&self.pci, "ejections"), heard(&self.heard.functions));
        assert_eq!(
            (count(&self.ged, "events"), self.raised),
            (self.raised, heard(&self.heard.edges))
        );
    }
}

fuzz_target!(|input: Input<'_>| {
    let mut machine = Machine::new(1 + u32::from(input.present) % POSSIBLE);
    for op in &input.ops {
        let before = machine.presences();
        machine.apply(op);
        machine.check(op, &before);
    }
    if input.together.is_empty() {
        return;
    }
    // Two vCPUs at once, each with half of them.
    let (one, other) = input.together.split_at(input.together.len() / 2);
    std::thread::scope(|scope| {
        for accesses in [one, other] {
            let machine = &machine;
            scope.spawn(move || {
                for (block, offset, data) in accesses {
                    machine.write(*block, *offset, data);
                    machine.block(*block).read(u64::from(*offset % 20), &mut [0; 4]);
                }
            });
        }
    });
    machine.check_counts();
    assert_ne!(machine.cpus.presence(0), Presence::Ejected);
});
