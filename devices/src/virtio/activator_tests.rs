//! Devices that are activated, reset, removed and broken, by vCPU threads, while pauses come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Deadline, Group, Kick, Member, Outcome, Parked, Step, Ticket, Waited, Word};

use super::lifecycle::{Cause, State, status};
use super::testing::{Activating, Buffers, Driver, TestDevice, Working};
use super::{Activator, Area, Features, Half, RegisterParts, Registers};
use crate::bus::Written;

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
        for value in [1, 3] {
            assert!(matches!(self.registers.write_status(value), Written::Done));
        }
        self.registers.accept(0, 0);
        self.registers.accept(1, u32::try_from(Features::VERSION_1 >> 32).unwrap());
        assert!(matches!(self.registers.write_status(11), Written::Done));
        assert!(self.registers.word().has(status::FEATURES_OK));
        for (driver, queue) in self.drivers.iter().zip(self.registers.queues()) {
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

    fn seen(&self, of: impl Fn(&super::testing::Seen) -> &std::sync::atomic::AtomicU64) -> u64 {
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

#[test]
fn a_device_that_is_activated_serves_its_queue() {
    let mut bed = Bed::new(Working::Serves);
    assert_eq!(bed.activate(), Outcome::Done);
    assert_eq!(bed.state(), State::Active);
    bed.send();
    bed.await_served(1);
    assert_eq!(bed.registers.counts().activations.get(), 1);
}

#[test]
fn requests_from_before_driver_ok_are_served() {
    let mut bed = Bed::new(Working::Serves);
    bed.send();
    bed.drivers[0].doorbell.clear();
    assert_eq!(bed.activate(), Outcome::Done);
    bed.await_served(1);
}

#[test]
fn four_vcpus_that_write_driver_ok_activate_once() {
    for _ in 0..50 {
        let bed = Bed::new(Working::Serves);
        bed.negotiate();
        let vcpus: Vec<_> = (0..4).map(|index| bed.vcpu(index, 15)).collect();
        for vcpu in vcpus {
            assert_eq!(vcpu.join().unwrap(), Some(Outcome::Done));
        }
        assert_eq!(bed.state(), State::Active);
        assert_eq!(bed.seen(|seen| &seen.activations), 1);
        assert_eq!(bed.registers.word().generation(), 1);
    }
}

#[test]
fn a_failing_and_a_panicking_activation_end_the_wait_and_need_a_reset() {
    for (activating, cause) in
        [(Activating::Fails, Cause::Activation), (Activating::Panics, Cause::Panic)]
    {
        let mut bed = Bed::new(Working::Serves);
        bed.device.then(activating);
        bed.negotiate();
        assert_eq!(bed.vcpu(0, 15).join().unwrap(), Some(Outcome::Failed));
        let word = bed.registers.word();
        assert_eq!((word.state(), word.cause()), (State::Failed, Some(cause)));
        assert!(word.has(status::NEEDS_RESET));
        assert_eq!(bed.drivers[0].interrupts.config(), 1);
        assert_eq!(bed.registers.counts().failures.get(), 1);
        // The activator goes on, and so does the device after a reset.
        assert_eq!(bed.write(0), Outcome::Done);
        assert_eq!(bed.registers.word().status(), 0);
        assert_eq!(bed.activate(), Outcome::Done);
        bed.send();
        bed.await_served(1);
    }
}

#[test]
fn queues_that_cannot_be_fail_the_activation() {
    type Spoil = fn(&Registers);
    let spoils: [Spoil; 5] = [
        |registers| registers.queues()[0].set_size(0),
        |registers| registers.queues()[0].set_size(3),
        |registers| registers.queues()[0].set_size(16),
        |registers| registers.queues()[0].set_address_half(Area::Device, Half::Low, 2),
        |registers| registers.queues()[0].set_address_half(Area::Driver, Half::High, 1),
    ];
    for spoil in spoils {
        let bed = Bed::new(Working::Serves);
        for value in [1, 3] {
            assert_eq!(bed.write(value), Outcome::Done);
        }
        bed.registers.accept(1, 1);
        assert_eq!(bed.write(11), Outcome::Done);
        spoil(&bed.registers);
        bed.registers.queues()[0].enable();
        assert_eq!(bed.write(15), Outcome::Failed);
        assert_eq!(bed.registers.word().cause(), Some(Cause::Queue));
        assert_eq!(bed.seen(|seen| &seen.activations), 0, "the device is not asked");
    }
}

#[test]
fn more_workers_than_seats_fail_the_activation_and_give_every_seat_back() {
    let bed = Bed::with_queues(5, Working::Serves);
    assert_eq!(bed.activate(), Outcome::Failed);
    assert_eq!(bed.registers.word().cause(), Some(Cause::Activation));
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    assert!(bed.activator.workers().words().all(|word| !word.any(Word::RUN | Word::DEAD)));
}

#[test]
fn a_slow_activation_holds_up_no_pause_and_the_vcpu_waits_for_the_same_ticket_afterwards() {
    let bed = Bed::new(Working::Serves);
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(Activating::Slowly(Arc::clone(&gate)));
    bed.negotiate();
    let vcpus: Vec<_> = (0..4).map(|index| bed.vcpu(index, 15)).collect();
    for _ in 0..100 {
        let paused = [
            bed.vcpus.pause(Deadline::Never).unwrap(),
            bed.activator.workers().pause(Deadline::Never).unwrap(),
        ];
        assert_ne!(bed.state(), State::Active, "nobody has opened the gate");
        drop(paused);
    }
    gate.advance();
    for vcpu in vcpus {
        assert_eq!(vcpu.join().unwrap(), Some(Outcome::Done));
    }
    assert_eq!(bed.seen(|seen| &seen.activations), 1);
}

#[test]
fn a_kill_ends_the_wait_for_a_slow_activation() {
    let bed = Bed::new(Working::Serves);
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(Activating::Slowly(Arc::clone(&gate)));
    bed.negotiate();
    let vcpu = bed.vcpu(0, 15);
    bed.vcpus.kill_all();
    assert_eq!(vcpu.join().unwrap(), None);
    gate.advance();
}

#[test]
fn a_reset_in_the_middle_of_an_activation_is_the_last_word() {
    let bed = Bed::new(Working::Serves);
    let gate = Arc::new(FutexWord::new(0));
    bed.device.then(Activating::Slowly(Arc::clone(&gate)));
    bed.negotiate();
    let starter = bed.vcpu(0, 15);
    while bed.seen(|seen| &seen.activations) == 0 {
        thread::yield_now();
    }
    let Written::Wait(reset) = bed.registers.write_status(0) else { panic!("a reset takes time") };
    assert_eq!(bed.registers.word().status(), 15, "the old status, until the workers are gone");
    gate.advance();
    assert_eq!(bed.wait(&reset), Outcome::Done);
    assert_eq!(starter.join().unwrap(), Some(Outcome::Done));
    assert_eq!((bed.state(), bed.registers.word().status()), (State::Inactive, 0));
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    assert_eq!(bed.activate(), Outcome::Done);
}

#[test]
fn a_reset_with_requests_in_flight_gives_them_back_before_the_status_reads_0() {
    let mut bed = Bed::new(Working::Holds);
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    await_at_least(&bed.device.seen.taken, 1);
    assert_eq!(bed.device.seen.served.load(), 0);
    assert_eq!(bed.write(0), Outcome::Done);
    assert_eq!(bed.registers.word().status(), 0);
    assert_eq!(bed.device.seen.served.load(), 1);
    assert!(bed.drivers[0].used().is_some());
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    assert_eq!(bed.seen(|seen| &seen.resets), 1);
    assert!(!bed.registers.queues()[0].is_enabled());
    assert_eq!(bed.registers.queues()[0].address(Area::Driver), 0);
}

#[test]
fn a_pause_drains_what_is_in_flight_and_publishes_where_the_worker_stands() {
    let mut bed = Bed::new(Working::Holds);
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    bed.send();
    await_at_least(&bed.device.seen.taken, 2);
    let paused = bed.activator.workers().pause(Deadline::Never).unwrap();
    assert_eq!(bed.device.seen.served.load(), 2);
    assert_eq!(bed.registers.queues()[0].position(), (2, 2));
    // Nothing goes on under the pause; what came meanwhile is served after it, doorbell or not.
    bed.send();
    bed.drivers[0].doorbell.clear();
    assert_eq!(bed.device.seen.taken.load(), 2);
    drop(paused);
    await_at_least(&bed.device.seen.taken, 3);
}

#[test]
fn no_request_is_lost_under_pauses() {
    let mut bed = Bed::new(Working::Serves);
    assert_eq!(bed.activate(), Outcome::Done);
    let workers = Arc::clone(bed.activator.workers());
    let pauser = thread::spawn(move || {
        for _ in 0..500 {
            drop(workers.pause(Deadline::Never).unwrap());
        }
    });
    for count in 1..=500 {
        bed.send();
        bed.await_served(count);
    }
    pauser.join().unwrap();
}

#[test]
fn a_worker_that_dies_says_so_holds_up_no_pause_and_a_reset_revives_the_device() {
    for (working, cause) in [(Working::Fails, Cause::Malformed), (Working::Panics, Cause::Panic)] {
        let mut bed = Bed::new(working);
        assert_eq!(bed.activate(), Outcome::Done);
        bed.send();
        await_at_least(&bed.device.seen.ended, 1);
        bed.activator.workers().wait_dead(Deadline::Never).unwrap();
        let word = bed.registers.word();
        assert_eq!((word.state(), word.cause()), (State::Failed, Some(cause)));
        assert_eq!(bed.drivers[0].interrupts.config(), 1);
        let counts = bed.registers.counts();
        assert_eq!((counts.worker_deaths.get(), counts.failures.get()), (1, 1));
        assert_eq!(counts.malformed.get(), u64::from(cause == Cause::Malformed));
        drop(bed.activator.workers().pause(Deadline::Never).unwrap());
        assert_eq!(bed.write(0), Outcome::Done);
        assert_eq!(bed.activate(), Outcome::Done);
    }
}

#[test]
fn a_device_with_a_dead_worker_can_be_removed() {
    let mut bed = Bed::with_queues(2, Working::Panics);
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    while bed.state() != State::Failed {
        thread::yield_now();
    }
    let removal = bed.registers.remove();
    assert_eq!(bed.wait(&removal), Outcome::Done);
    assert_eq!(bed.seen(|seen| &seen.workers), 0);
    assert!(bed.registers.word().is_removed());
    // A driver that does not know yet gets nowhere, and is kept from nothing.
    assert_eq!(bed.write(1), Outcome::Done);
    assert_eq!(bed.registers.word().status(), 0);
}

#[test]
fn a_device_is_reset_and_removed_while_its_group_is_paused() {
    let bed = Bed::new(Working::Serves);
    assert_eq!(bed.activate(), Outcome::Done);
    let paused = bed.activator.workers().pause(Deadline::Never).unwrap();
    assert_eq!(bed.write(0), Outcome::Done);
    // An activation under a pause makes workers that park before they touch anything.
    assert_eq!(bed.activate(), Outcome::Done);
    let mut words = bed.activator.workers().words();
    assert!(words.all(vcpu_state::Word::is_quiescent));
    let removal = bed.registers.remove();
    assert_eq!(bed.wait(&removal), Outcome::Done);
    drop(paused);
}

#[test]
fn who_waits_when_the_activator_stops_is_told() {
    let bed = Bed::new(Working::Serves);
    bed.negotiate();
    bed.activator.stop();
    let ended = bed.write(15);
    // The stop may come before or after the request.
    assert!(ended == Outcome::Failed || bed.state() == State::Active);
}

#[test]
fn resets_activations_and_pauses_at_random_leave_a_device_that_works() {
    let mut bed = Bed::new(Working::Serves);
    let workers = Arc::clone(bed.activator.workers());
    let vcpus = Arc::clone(&bed.vcpus);
    let pauser = thread::spawn(move || {
        for _ in 0..300 {
            drop((vcpus.pause(Deadline::Never).unwrap(), workers.pause(Deadline::Never).unwrap()));
        }
    });
    for round in 0..300 {
        bed.device.then(match round % 4 {
            1 => Activating::Fails,
            3 => Activating::Panics,
            _ => Activating::Succeeds,
        });
        let fails = round % 2 == 1;
        assert_eq!(bed.activate() == Outcome::Failed, fails, "round {round}");
        assert_eq!(bed.write(0), Outcome::Done);
        assert_eq!(bed.registers.word().status(), 0);
        assert_eq!(bed.seen(|seen| &seen.workers), 0);
    }
    pauser.join().unwrap();
    assert_eq!(bed.activate(), Outcome::Done);
    bed.send();
    bed.await_served(1);
}
