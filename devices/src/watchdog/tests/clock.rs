//! The thread in its group: it counts, stands still in a pause, ends when it is killed.

use std::time::{Duration, Instant};

use vcpu_state::{Deadline, Group, Kick};

use super::*;
use crate::event::Event;

/// Not a tolerance: after this long something hangs.
const HANG: Duration = Duration::from_mins(1);

struct Kicked(Arc<Event>);

impl Kick for Kicked {
    fn kick(&self, _: usize) {
        self.0.notify();
    }
}

fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < HANG, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

struct Bed {
    watchdog: Watchdog,
    told: Arc<Told>,
    group: Arc<Group>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bed {
    fn new() -> Self {
        let (watchdog, told) = watchdog(Past::Other);
        let kick = Arc::new(Event::new().unwrap());
        let group = Group::new(1, Box::new(Kicked(Arc::clone(&kick))));
        let member = group.member(0).unwrap();
        let clock = watchdog.clock();
        let thread = Some(std::thread::spawn(move || clock(member, kick)));
        Self { watchdog, told, group, thread }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.group.kill_all();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

#[test]
fn it_expires_when_it_is_left_alone() {
    let bed = Bed::new();
    set_preload(&bed.watchdog, 20);
    set_config(&bed.watchdog, 0x68, 2);
    until("the expiry", || bed.told.count() == 1);
    // It is spent: only a reload makes it count again.
    reload(&bed.watchdog);
    until("another one", || bed.told.count() == 2);
}

#[test]
fn a_pause_that_is_longer_than_its_time_does_not_make_it_expire() {
    let bed = Bed::new();
    set_preload(&bed.watchdog, 50);
    set_config(&bed.watchdog, 0x68, 2);
    for _ in 0..3 {
        let paused = bed.group.pause(Deadline::Never).unwrap();
        let told = bed.told.count();
        let begun = Instant::now();
        // Twice as long as both stages.
        until("the time", || begun.elapsed() > Duration::from_millis(200));
        assert_eq!(bed.told.count(), told);
        reload(&bed.watchdog);
        drop(paused);
    }
    until("the expiry", || bed.told.count() > 0);
}

#[test]
fn it_can_be_killed_whatever_it_does() {
    // Off, counting, paused, and killed before it was started.
    drop(Bed::new());
    let bed = Bed::new();
    set_config(&bed.watchdog, 0x68, 2);
    drop(bed);
    let bed = Bed::new();
    let paused = bed.group.pause(Deadline::Never).unwrap();
    drop(bed);
    drop(paused);
}
