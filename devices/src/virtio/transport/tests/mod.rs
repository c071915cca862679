//! Drivers that do as the specification says, and others.

mod model;
mod queue_reset;

use std::sync::Arc;
use std::thread;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Deadline, Group, Kick, Outcome, WorkItem};

use super::VirtioPci;
use crate::bus::Written;
use crate::pci::{BarIndex, PciFunction};
use crate::virtio::lifecycle::State;
use crate::virtio::testing::{Activating, Buffers, Driver, TestDevice, TestPlatform, Working};
use crate::virtio::{Activator, VirtioInterrupt};

const BAR: BarIndex = BarIndex(0);
const STATUS: u64 = 0x14;
const NOTIFY: u64 = 0x3000;

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _: usize) {}
}

/// A device on PCI with its driver.
struct Bed {
    vcpus: Arc<Group>,
    activator: Activator,
    thread: Option<thread::JoinHandle<()>>,
    device: Arc<TestDevice>,
    function: Arc<VirtioPci>,
    driver: Driver,
}

impl Bed {
    fn new() -> Self {
        Self::with_queues(1)
    }

    fn with_queues(queues: usize) -> Self {
        let vcpus = Group::new(2, Box::new(NoKick));
        let (activator, thread) = Activator::new(&vcpus, 4);
        let thread = Some(thread::spawn(|| thread.run()));
        let device = Arc::new(TestDevice::new(queues, 8, Working::Serves));
        let mut driver = Driver::queues(1, 8).remove(0);
        let (work, _) = WorkItem::new(&vcpus, &Arc::new(FutexWord::new(0)));
        let function = VirtioPci::new(
            Arc::clone(&device) as _,
            driver.memory.clone(),
            &activator,
            &TestPlatform::default(),
            &Arc::new(work),
        );
        let function = Arc::new(function.unwrap());
        driver.doorbell = Arc::clone(&function.doorbells()[0].event);
        Self { vcpus, activator, thread, device, function, driver }
    }

    fn read(&self, offset: u64, len: usize) -> u64 {
        let mut data = [0; 8];
        self.function.read_bar(BAR, offset, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    fn write(&self, offset: u64, len: usize, value: u64) -> Outcome {
        let written = self.function.write_bar(BAR, offset, &value.to_le_bytes()[..len]);
        self.wait(&written)
    }

    fn wait(&self, written: &Written) -> Outcome {
        match written {
            Written::Done => Outcome::Done,
            Written::Wait(ticket) => self.vcpus.wait_ticket(ticket, Deadline::Never).unwrap(),
        }
    }

    fn config(&self, offset: u16, len: usize) -> u32 {
        let mut data = [0; 4];
        if !self.function.read_config_window(offset, &mut data[..len]) {
            self.function.config().read(offset, &mut data[..len]);
        }
        u32::from_le_bytes(data)
    }

    fn write_config(&self, offset: u16, len: usize, value: u32) -> Outcome {
        let data = &value.to_le_bytes()[..len];
        self.function.config().write(offset, data);
        self.wait(&self.function.config_written(offset, data))
    }

    /// The capabilities with this id: their offsets.
    fn capabilities(&self, id: u32) -> Vec<u16> {
        let mut found = Vec::new();
        let mut at = u16::try_from(self.config(0x34, 1)).unwrap();
        while at != 0 {
            if self.config(at, 1) == id {
                found.push(at);
            }
            at = u16::try_from(self.config(at + 1, 1)).unwrap();
        }
        found
    }

    /// The PCI_CFG window.
    fn window(&self) -> u16 {
        let is_window = |at: &u16| self.config(at + 3, 1) == 5;
        self.capabilities(9).into_iter().find(is_window).unwrap()
    }

    fn through_window(&self, offset: u32, len: u32, value: u32) -> Outcome {
        let window = self.window();
        for (at, word) in [(8, offset), (12, len)] {
            assert_eq!(self.write_config(window + at, 4, word), Outcome::Done);
        }
        self.write_config(window + 16, len as usize, value)
    }

    /// All that a driver does before DRIVER_OK (virtio 1.2, 3.1.1).
    fn negotiate(&self) {
        self.negotiate_with(0);
    }

    /// The same with these features of the high half, and VERSION_1.
    fn negotiate_with(&self, more: u64) {
        assert_eq!(self.write(STATUS, 1, 0), Outcome::Done);
        assert_eq!(self.read(STATUS, 1), 0);
        for status in [1, 3] {
            assert_eq!(self.write(STATUS, 1, status), Outcome::Done);
        }
        for (select, bits) in [(0, 0), (1, 1 | more >> 32)] {
            assert_eq!(self.write(0x08, 4, select), Outcome::Done);
            assert_eq!(self.write(0x0c, 4, bits), Outcome::Done);
        }
        assert_eq!(self.write(STATUS, 1, 11), Outcome::Done);
        assert_eq!(self.read(STATUS, 1), 11);
        let areas = [
            (0x20, self.driver.descriptors()),
            (0x28, self.driver.available_ring()),
            (0x30, self.driver.used_ring()),
        ];
        for (field, gpa) in areas {
            assert_eq!(self.write(field, 8, gpa.0), Outcome::Done);
        }
        assert_eq!(self.write(0x1c, 2, 1), Outcome::Done);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.activator.stop();
        drop(self.thread.take().unwrap().join());
    }
}

#[test]
fn a_driver_finds_and_starts_the_device() {
    let mut bed = Bed::new();
    assert_eq!(bed.config(0, 4), 0x1044_1af4);
    let types: Vec<_> = bed.capabilities(9).into_iter().map(|at| bed.config(at + 3, 1)).collect();
    assert_eq!(types, [1, 3, 4, 2, 5]);
    assert_eq!(bed.capabilities(0x11).len(), 1);
    bed.negotiate();
    assert_eq!(bed.write(STATUS, 1, 15), Outcome::Done);
    assert_eq!(bed.function.registers().word().state(), State::Active);
    bed.driver.send(&Buffers { readable: vec![b"x"], writable: vec![] });
    while bed.device.seen.served.load() == 0 {
        bed.device.seen.served.wait(0, None);
    }
    // The worker flushes after it has served.
    drop(bed.activator.workers().pause(Deadline::Never).unwrap());
    assert_eq!(bed.read(0x1000, 1), 1, "the queue's cause");
    assert_eq!(bed.read(0x1000, 1), 0, "reading clears it");
}

#[test]
fn the_capabilities_say_where_things_are() {
    let bed = Bed::new();
    let places: Vec<_> = bed
        .capabilities(9)
        .into_iter()
        .map(|at| (bed.config(at + 2, 1), bed.config(at + 8, 4), bed.config(at + 12, 4)))
        .collect();
    assert_eq!(
        places,
        [
            (16, 0, 0x1000),
            (16, 0x1000, 0x1000),
            (16, 0x2000, 0x1000),
            (20, 0x3000, 0x1000),
            (20, 0, 0)
        ]
    );
    let notify = bed.capabilities(9)[3];
    assert_eq!(bed.config(notify + 16, 4), 4);
}

#[test]
fn driver_ok_through_the_window_waits_for_the_same_activation() {
    let bed = Bed::new();
    bed.negotiate();
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(Activating::Slowly(Arc::clone(&gate)));
    let window = bed.window();
    for (at, word) in [(8, 0x14), (12, 1)] {
        assert_eq!(bed.write_config(window + at, 4, word), Outcome::Done);
    }
    let data = [15];
    bed.function.config().write(window + 16, &data);
    let written = bed.function.config_written(window + 16, &data);
    assert!(matches!(written, Written::Wait(_)), "a ticket, as through the BAR");
    gate.advance();
    assert_eq!(bed.wait(&written), Outcome::Done);
    assert_eq!(bed.function.registers().word().state(), State::Active);
    // A reset, as well.
    assert_eq!(bed.through_window(0x14, 1, 0), Outcome::Done);
    assert_eq!(bed.read(STATUS, 1), 0);
}

#[test]
fn the_window_reads_what_the_bar_reads() {
    let bed = Bed::new();
    let window = bed.window();
    for (offset, len) in [(0x12, 2), (0x18, 2), (0x2004, 4), (0x2003, 1)] {
        bed.write_config(window + 8, 4, offset);
        bed.write_config(window + 12, 4, len);
        let seen = u64::from(bed.config(window + 16, len as usize));
        assert_eq!(seen, bed.read(offset.into(), len as usize), "{offset:#x}");
    }
    // Accesses that no BAR could see.
    for (offset, len) in [(0x12, 3), (0x11, 2), (0x14, 0), (0x20, 8), (0x9000, 4)] {
        bed.write_config(window + 8, 4, offset);
        bed.write_config(window + 12, 4, len);
        assert_eq!(bed.config(window + 16, 4), 0, "{offset:#x}");
        assert_eq!(bed.write_config(window + 16, 4, 0xffff_ffff), Outcome::Done);
    }
    bed.write_config(window + 4, 1, 1);
    bed.write_config(window + 8, 4, 0x12);
    bed.write_config(window + 12, 4, 2);
    assert_eq!(bed.config(window + 16, 2), 0, "there is no other BAR");
}

#[test]
fn features_that_are_not_offered_or_not_enough_are_refused() {
    let bed = Bed::new();
    for (low, high) in [(0, 0), (2, 1), (0, 3), (1 << 24, 1)] {
        bed.write(STATUS, 1, 0);
        bed.write(STATUS, 1, 3);
        for (select, bits) in [(0, low), (1, high)] {
            bed.write(0x08, 4, select);
            bed.write(0x0c, 4, bits);
        }
        bed.write(STATUS, 1, 11);
        assert_eq!(bed.read(STATUS, 1), 3, "{low:#x} {high:#x}");
        bed.write(STATUS, 1, 15);
        assert_eq!(bed.read(STATUS, 1), 3, "no DRIVER_OK without FEATURES_OK");
    }
    assert_eq!(bed.device.seen.activations.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_driver_sees_which_features_are_offered() {
    let bed = Bed::new();
    let halves: Vec<_> = (0..3)
        .map(|select| {
            bed.write(0, 4, select);
            bed.read(4, 4)
        })
        .collect();
    assert_eq!(halves, [1 | 1 << 28 | 1 << 29, 1 | 1 << 8, 0]);
}

#[test]
fn queue_registers_stand_still_once_the_queue_is_enabled() {
    let bed = Bed::new();
    bed.negotiate();
    let before = [0x18, 0x20, 0x28, 0x30].map(|field| bed.read(field, 4));
    for field in [0x20, 0x28, 0x30] {
        bed.write(field, 4, 0x5000);
    }
    bed.write(0x18, 2, 4);
    bed.write(0x1c, 2, 0);
    assert_eq!([0x18, 0x20, 0x28, 0x30].map(|field| bed.read(field, 4)), before);
    assert_eq!(bed.read(0x1c, 2), 1, "only a reset disables it");
    bed.write(STATUS, 1, 0);
    assert_eq!([0x18, 0x20, 0x28, 0x30, 0x1c].map(|field| bed.read(field, 2)), [8, 0, 0, 0, 0]);
}

#[test]
fn vectors_that_are_not_there_read_back_as_none_and_a_reset_forgets_all() {
    let bed = Bed::new();
    for (field, vector, reads) in
        [(0x10, 0, 0), (0x10, 1, 1), (0x10, 2, 0xffff), (0x1a, 1, 1), (0x1a, 0xffff, 0xffff)]
    {
        bed.write(field, 2, vector);
        assert_eq!(bed.read(field, 2), reads);
    }
    bed.write(0x1a, 2, 1);
    bed.write(STATUS, 1, 0);
    assert_eq!([bed.read(0x10, 2), bed.read(0x1a, 2)], [0xffff, 0xffff]);
}

#[test]
fn a_queue_that_is_not_there_reads_zeros_and_takes_nothing() {
    let bed = Bed::new();
    bed.write(0x16, 2, 7);
    for field in [0x18, 0x1c, 0x1e, 0x20] {
        bed.write(field, 2, 1);
        assert_eq!(bed.read(field, 2), 0);
    }
    assert_eq!(bed.read(0x1a, 2), 0xffff);
}

#[test]
fn a_notification_rings_the_doorbell_of_its_queue() {
    let bed = Bed::with_queues(2);
    let doorbells = bed.function.doorbells();
    assert_eq!([doorbells[0].offset, doorbells[1].offset], [NOTIFY, NOTIFY + 4]);
    bed.write(NOTIFY + 4, 2, 1);
    assert!(!doorbells[0].event.clear());
    assert!(doorbells[1].event.clear());
    // There is no third.
    bed.write(NOTIFY + 8, 2, 2);
    assert_eq!(bed.function.registers().counts().notifications.get(), 1);
}

#[test]
fn the_generation_changes_with_the_configuration() {
    let bed = Bed::new();
    let before = bed.read(0x15, 1);
    assert_eq!(bed.read(0x15, 1), before);
    bed.function.interrupts.config();
    assert_ne!(bed.read(0x15, 1), before);
    assert_eq!(bed.read(0x1000, 1), 2, "the configuration's cause");
}

#[test]
fn a_removed_device_is_reset_and_takes_no_driver() {
    let bed = Bed::new();
    bed.negotiate();
    assert_eq!(bed.write(STATUS, 1, 15), Outcome::Done);
    let ticket = bed.function.remove();
    assert_eq!(bed.vcpus.wait_ticket(&ticket, Deadline::Never), Ok(Outcome::Done));
    assert_eq!(bed.read(STATUS, 1), 0);
    bed.write(STATUS, 1, 3);
    assert_eq!(bed.read(STATUS, 1), 0);
}

#[test]
fn more_queues_than_there_is_room_for_are_an_error() {
    let bed = Bed::new();
    let (work, _) = WorkItem::new(&bed.vcpus, &Arc::new(FutexWord::new(0)));
    let device = Arc::new(TestDevice::new(512, 8, Working::Serves));
    let memory = bed.driver.memory.clone();
    let platform = TestPlatform::default();
    let function = VirtioPci::new(device, memory, &bed.activator, &platform, &Arc::new(work));
    assert!(matches!(function, Err(super::VirtioPciError::TooManyQueues(512))));
}
