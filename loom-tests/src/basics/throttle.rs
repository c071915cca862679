//! A throttled vCPU is paused by another controller, the throttle dropped meanwhile, and the vCPU killed.
//!
//! Invariant: the pause ends and stands, in whatever half the throttle is; the drop of the throttle returns,
//! even under the pause, and leaves no hold; the kill ends a vCPU that the throttle holds.
//!
//! Time is the model's: the throttle finds a half over so many times, and then sleeps until it is told something. So
//! each number of halves is a model of its own.

use std::time::Duration;

use vcpu_state::Word;
use vcpu_state::throttle::{DutyCycle, Pace, Throttle};

use crate::bed::Bed;
use crate::checker::{join, thread};
use crate::model::{Bound, Model};

/// Ends in the stop.
pub const HELD: Model =
    Model::basic("throttle-held", held).explored(Bound::Preemptions(0), Bound::Preemptions(1));
/// Ends in the run after it.
pub const LET_GO: Model =
    Model::basic("throttle-let-go", let_go).explored(Bound::Preemptions(0), Bound::Preemptions(1));
/// The vCPU is killed.
pub const KILLED: Model =
    Model::basic("throttle-killed", killed).explored(Bound::Preemptions(1), Bound::Preemptions(2));

/// So many halves are over when they are looked at; the next is not.
struct Halves(u32);

impl Pace for Halves {
    fn is_over(&mut self, _now: Duration, _until: Duration) -> bool {
        let over = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        over
    }

    fn patience(&self, _usual: Duration) -> Option<Duration> {
        None
    }
}

fn throttle(bed: &Bed, halves: u32) -> Throttle {
    let duty = DutyCycle::new(50, DutyCycle::SHORTEST);
    match duty.map(|duty| Throttle::start(&bed.group, 0..1, duty, Halves(halves))) {
        Ok(Ok(throttle)) => throttle,
        Ok(Err(error)) => panic!("{error}"),
        Err(error) => panic!("{error}"),
    }
}

fn held() {
    throttled(1);
}

fn let_go() {
    throttled(2);
}

fn throttled(halves: u32) {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    let throttle = throttle(&bed, halves);
    let pauser = {
        let bed = bed.clone();
        thread::spawn(move || {
            let quiesced = bed.pause();
            bed.assert_still();
            drop(quiesced);
        })
    };
    drop(throttle);
    join(pauser);
    assert!(bed.group.words().all(|word| word.holders() == 0 && !word.any(Word::PAUSED)));
    bed.end(vcpus);
}

fn killed() {
    let bed = Bed::new(1);
    let vcpus = bed.spawn_halted();
    let throttle = throttle(&bed, 1);
    bed.end(vcpus);
    drop(throttle);
    assert!(bed.group.words().all(|word| word.any(Word::DEAD) && word.holders() == 0));
}
