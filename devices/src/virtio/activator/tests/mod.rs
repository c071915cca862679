//! Devices that are activated, reset, removed and broken, by vCPU threads, while pauses come and go.

mod activation;
mod queue_reset;
mod reset;
mod workers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use vcpu_state::sync::FutexWord;
use vcpu_state::{
    Deadline, Group, Kick, Member, Outcome, Parked, Quiesced, Step, Ticket, Waited, Word,
};

use crate::bus::Written;
use crate::virtio::lifecycle::{State, status};
use crate::virtio::testing::{Buffers, Driver, Seen, TestDevice, Working};
use crate::virtio::{
    Activator, Area, Features, Half, QueueRegisters, QueueState, RegisterParts, Registers,
};

/// Says where a driver's ring is, and enables the queue.
fn set_up(driver: &Driver, queue: &QueueRegisters) {
    let areas = [
        (Area::Descriptors, driver.descriptors()),
        (Area::Driver, driver.available_ring()),
        (Area::Device, driver.used_ring()),
    ];
    for (area, gpa) in areas {
        queue.set_address_half(area, Half::Low, u32::try_from(gpa.0).unwrap());
    }
    queue.enable();
}

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _: usize) {}
}

/// A device with one driver for each of its queues, an activator, and a group of vCPUs.
struct Bed {
    vcpus: Arc<Group>,
    activator: Activator,
    thread: Option<thread::JoinHandle<()>>,
    device: Arc<TestDevice>,
    registers: Arc<Registers>,
    drivers: Vec<Driver>,
}

impl Bed {
    fn new(working: Working) -> Self {
        Self::with_queues(1, working)
    }

    fn with_queues(queues: u16, working: Working) -> Self {
        let vcpus = Group::new(4, Box::new(NoKick));
        let (activator, thread) = Activator::new(&vcpus, 4);
        let thread = Some(thread::spawn(|| thread.run()));
        let device = Arc::new(TestDevice::new(queues.into(), 8, working));
        let drivers = Driver::queues(queues, 8);
        let parts = RegisterParts {
            device: Arc::clone(&device) as _,
            memory: drivers[0].memory.clone(),
            interrupt: Arc::clone(&drivers[0].interrupts) as _,
        };
        let registers = Registers::new(parts, &activator).unwrap();
        let mut bed = Self { vcpus, activator, thread, device, registers, drivers };
        for (driver, queue) in bed.drivers.iter_mut().zip(bed.registers.queues()) {
            driver.doorbell = Arc::clone(queue.doorbell());
        }
        bed
    }

    /// All that a driver writes before DRIVER_OK.
    fn negotiate(&self) {
        self.negotiate_with(0);
    }

    /// The same with these features of the high half, and VERSION_1.
    fn negotiate_with(&self, more: u64) {
        for value in [1, 3] {
            assert!(matches!(self.registers.write_status(value), Written::Done));
        }
        self.registers.accept(0, 0);
        self.registers.accept(1, u32::try_from((Features::VERSION_1 | more) >> 32).unwrap());
        assert!(matches!(self.registers.write_status(11), Written::Done));
        assert!(self.registers.word().has(status::FEATURES_OK));
        for (driver, queue) in self.drivers.iter().zip(self.registers.queues()) {
            set_up(driver, queue);
        }
    }

    fn write(&self, value: u8) -> Outcome {
        match self.registers.write_status(value) {
            Written::Done => Outcome::Done,
            Written::Wait(ticket) => self.wait(&ticket),
        }
    }

    fn wait(&self, ticket: &Ticket) -> Outcome {
        self.vcpus.wait_ticket(ticket, Deadline::Never).unwrap()
    }

    fn activate(&self) -> Outcome {
        self.negotiate();
        self.write(15)
    }

    /// Pauses the workers when the activator has nothing to publish.
    fn pause_between_turns(&self) -> Quiesced {
        while !self.desk().is_quiescent() {
            thread::yield_now();
        }
        self.activator.workers().pause(Deadline::Never).unwrap()
    }

    /// The member that the activator's turns are: the last one.
    fn desk(&self) -> Word {
        self.activator.workers().words().last().unwrap()
    }

    /// Waits until the activator is in a turn, or waits for one.
    fn await_desk(&self, flag: u64) {
        while !self.desk().any(flag) {
            thread::yield_now();
        }
    }

    fn state(&self) -> State {
        self.registers.word().state()
    }

    /// A vCPU thread that writes the status register, and waits as a vCPU does: in its own word.
    fn vcpu(&self, index: usize, value: u8) -> thread::JoinHandle<Option<Outcome>> {
        let member = self.vcpus.member(index).unwrap();
        let registers = Arc::clone(&self.registers);
        thread::spawn(move || write_and_wait(member, &registers, value))
    }

    fn send(&mut self) {
        self.drivers[0].send(&Buffers { readable: vec![b"x"], writable: vec![] });
    }

    fn await_served(&self, count: u32) {
        await_at_least(&self.device.seen.served, count);
    }

    fn seen(&self, of: impl Fn(&Seen) -> &std::sync::atomic::AtomicU64) -> u64 {
        of(&self.device.seen).load(Ordering::SeqCst)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.activator.stop();
        let thread = self.thread.take().unwrap();
        let ended = thread.join();
        if !thread::panicking() {
            ended.unwrap();
            assert_eq!(self.seen(|seen| &seen.workers), 0, "no worker outlives the activator");
        }
    }
}

fn write_and_wait(mut member: Member, registers: &Registers, value: u8) -> Option<Outcome> {
    if member.start() != Ok(Parked::Resumed) {
        return None;
    }
    let Written::Wait(ticket) = registers.write_status(value) else {
        return Some(Outcome::Done);
    };
    member.begin_ticket().unwrap();
    loop {
        match member.next() {
            Step::Kill => return None,
            Step::Pause { epoch } => drop(member.park(epoch)),
            Step::Ticket => {
                if let Waited::Done(outcome) = member.wait_ticket(&ticket) {
                    return Some(outcome);
                }
            }
            Step::OneShot(_) | Step::Enter => unreachable!("nobody asks, and it owes a ticket"),
        }
    }
}

fn await_at_least(word: &FutexWord, count: u32) {
    loop {
        let now = word.load();
        if now >= count {
            return;
        }
        word.wait(now, None);
    }
}
