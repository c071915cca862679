//! Members whose guests count: one that does not move while others do stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use vcpu_state::{Group, Kick, Member, Parked, Step};

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _member: usize) {}
}

pub(crate) fn group(members: usize) -> Arc<Group> {
    Group::new(members, Box::new(NoKick))
}

/// A member whose guest is a counter: it enters, counts and leaves at once.
fn count(mut member: Member, counter: &AtomicU64) {
    if member.start() != Ok(Parked::Resumed) {
        return;
    }
    loop {
        match member.next() {
            Step::Kill => return,
            Step::Pause { epoch } => {
                member.park(epoch);
            }
            Step::OneShot(one_shot) => {
                member.take(one_shot);
            }
            Step::Ticket => unreachable!("this guest has no devices"),
            Step::Enter => {
                if member.enter().is_ok() {
                    counter.fetch_add(1, Ordering::Relaxed);
                    member.leave();
                }
            }
        }
    }
}

pub(crate) fn run(group: &Arc<Group>) -> (Vec<thread::JoinHandle<()>>, Arc<Vec<AtomicU64>>) {
    let counters = Arc::new((0..group.len()).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
    let threads = (0..group.len())
        .map(|index| {
            let member = group.member(index).unwrap();
            let counters = Arc::clone(&counters);
            thread::spawn(move || count(member, &counters[index]))
        })
        .collect();
    (threads, counters)
}

pub(crate) fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

pub(crate) fn sum(counters: &[AtomicU64]) -> Vec<u64> {
    counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect()
}

pub(crate) fn await_progress(counters: &[AtomicU64], from: &[u64]) {
    while counters.iter().zip(from).any(|(now, then)| now.load(Ordering::Relaxed) == *then) {
        thread::yield_now();
    }
}
