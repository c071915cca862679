//! A work item: two vCPUs write registers and ask for rounds, an attendant does them, and a controller pauses
//! and kills meanwhile; or the attendant goes away.
//!
//! Invariant: no request is lost, and every ticket gets done. A vCPU that goes on after its ticket sees the world as
//! its register asked for, so no round answers a request that it began before. A pause ends although tickets are
//! owed, and what was owed is waited for after it. Who is answered by the last round is not told that there was none.
//!
//! Registers and the world are relaxed: the item itself has to order them.

use std::sync::Arc;

use vcpu_state::{Attendant, Outcome, Round, Ticket, WorkItem};

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::checker::{FutexWord, join, thread};
use crate::model::{Bound, Model};
use crate::vcpu::Handled;

/// Two that ask, at the same time or one after the other.
pub const ROUNDS: Model =
    Model::basic("work-item-rounds", rounds).explored(Bound::Preemptions(1), Bound::Preemptions(1));
/// One that asks is paused, and goes on.
pub const PAUSED: Model =
    Model::basic("work-item-paused", paused).explored(Bound::Preemptions(1), Bound::Preemptions(2));
/// Two that ask are paused, and killed.
pub const KILLED: Model =
    Model::basic("work-item-killed", killed).explored(Bound::Preemptions(1), Bound::Preemptions(1));
/// The attendant goes away after its first round.
pub const UNATTENDED: Model = Model::basic("work-item-unattended", unattended)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));
/// The attendant goes away while its last answer is looked at.
pub const LAST_ANSWER: Model = Model::basic("work-item-last-answer", last_answer)
    .explored(Bound::Exhaustive, Bound::Exhaustive);

/// A device of which each vCPU has a register.
struct Device {
    item: WorkItem,
    bell: Arc<FutexWord>,
    registers: [AtomicU32; 2],
    /// What the attendant has made of the registers.
    world: [AtomicU32; 2],
    ended: AtomicBool,
}

impl Device {
    fn of(bed: &Bed) -> (Arc<Self>, Attendant) {
        let bell = Arc::new(FutexWord::new(0));
        let (item, attendant) = WorkItem::new(&bed.group, &bell);
        let zeros = || [0, 0].map(AtomicU32::new);
        let ended = AtomicBool::new(false);
        let device = Self { item, bell, registers: zeros(), world: zeros(), ended };
        (Arc::new(device), attendant)
    }

    fn write(&self, register: usize) -> Ticket {
        self.registers[register].store(1, Ordering::Relaxed);
        self.item.request()
    }

    fn is_done(&self, register: usize) -> bool {
        self.world[register].load(Ordering::Relaxed) == 1
    }

    fn carry_out(&self, round: Round) {
        for (register, world) in self.registers.iter().zip(&self.world) {
            world.store(register.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        round.complete(Outcome::Done);
    }

    /// Does rounds until the end, and those that were asked for before it.
    fn attend(&self, mut attendant: Attendant) {
        loop {
            let seen = self.bell.load();
            let ended = self.ended.load(Ordering::Acquire);
            match attendant.begin() {
                Some(round) => self.carry_out(round),
                None if ended => return,
                None => self.bell.wait(seen, None),
            }
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.bell.advance();
    }
}

/// A guest that writes a register and, after the wait for that, looks at what came of it.
fn guest(device: &Arc<Device>, register: usize) -> Script {
    let (write, look) = (Arc::clone(device), Arc::clone(device));
    Script::halt().exit(move || Handled::Wait(write.write(register))).exit(move || {
        assert!(look.is_done(register), "a round answered a request that it began before");
        Handled::Fail
    })
}

/// An attendant on a thread of its own.
fn attend(device: &Arc<Device>, attendant: Attendant) -> thread::JoinHandle<()> {
    let device = Arc::clone(device);
    thread::spawn(move || device.attend(attendant))
}

fn rounds() {
    let bed = Bed::new(2);
    let (device, attendant) = Device::of(&bed);
    let vcpus = [0, 1].map(|vcpu| bed.spawn(vcpu, guest(&device, vcpu)));
    let attendant = attend(&device, attendant);
    for vcpu in vcpus {
        assert_eq!(join(vcpu).outcomes, [Outcome::Done]);
    }
    device.end();
    join(attendant);
}

fn paused() {
    let bed = Bed::new(1);
    let (device, attendant) = Device::of(&bed);
    let vcpu = bed.spawn(0, guest(&device, 0));
    let attendant = attend(&device, attendant);
    drop(bed.pause());
    assert_eq!(join(vcpu).outcomes, [Outcome::Done]);
    device.end();
    join(attendant);
}

fn killed() {
    let bed = Bed::new(2);
    let (device, attendant) = Device::of(&bed);
    let vcpus = [0, 1].map(|vcpu| bed.spawn(vcpu, guest(&device, vcpu)));
    let attendant = attend(&device, attendant);
    drop(bed.pause());
    for report in bed.end(vcpus.into()) {
        assert!(report.outcomes.iter().all(|outcome| *outcome == Outcome::Done));
    }
    device.end();
    join(attendant);
}

fn unattended() {
    let bed = Bed::new(1);
    let (device, mut attendant) = Device::of(&bed);
    let write = Arc::clone(&device);
    let vcpu = bed.spawn(0, Script::halt().exit(move || Handled::Wait(write.write(0))).end());
    if let Some(round) = attendant.begin() {
        device.carry_out(round);
    }
    drop(attendant);
    let outcomes = join(vcpu).outcomes;
    assert_eq!(outcomes.len(), 1, "the wait did not end");
    assert!(outcomes == [Outcome::Failed] || device.is_done(0));
}

fn last_answer() {
    let bed = Bed::new(1);
    let (device, mut attendant) = Device::of(&bed);
    let ticket = device.write(0);
    // Not on the attendant's thread: the checker remembers but the last access to a number, and would not see that what
    // is read here comes before what that thread writes, if that thread had read it in between.
    let round = attendant.begin();
    let answer = {
        let device = Arc::clone(&device);
        thread::spawn(move || {
            if let Some(round) = round {
                device.carry_out(round);
            }
            drop(attendant);
        })
    };
    let seen = ticket.outcome();
    assert!(seen != Some(Outcome::Failed), "an answered request was told that nobody attends");
    assert!(seen.is_none() || device.is_done(0), "a ticket is done before its work");
    join(answer);
    assert_eq!(ticket.outcome(), Some(Outcome::Done));
}
