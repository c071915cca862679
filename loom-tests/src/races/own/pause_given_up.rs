//! pause-given-up: a pause waits for memory that does not come, and the end of the VM waits for the pause.
//!
//! Mechanism: whoever has the VM pauses it, and waits for a vCPU or a worker that sleeps in the kernel until a page is there. It would be
//! woken by the end of the VM, which gives up what has not come. But the end is the next request of whoever waits.
//!
//! Invariant: an end is announced before it is asked for, and a pause that finds it announced is taken back. The end goes its one way: words are
//! killed, vCPUs' first, then what is missing is given up, then sleepers wake. So nobody acts on a page that did not come, and the
//! pauser always comes back.

use std::sync::Arc;

use vcpu_state::sync::FutexWord;
use vcpu_state::{Deadline, Group, Kick, Parked, PauseError, Quiesced, Step, Word};
use vmm::control::Ends;

use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// A vCPU waits for a page.
pub const VCPU: Model = Model::race("pause-given-up", historic, Finding::Deadlock, vcpu)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));
/// A worker does, after the vCPUs have stopped.
pub const WORKER: Model = Model::basic("pause-given-up-worker", worker)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));
/// The page comes while the end is asked for.
pub const IN_TIME: Model = Model::basic("pause-given-up-in-time", in_time)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    owned: bool,
    acked: bool,
    given_up: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm { owned: true, ..Vm::default() }));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            drop(vm.wait_until(|vm| vm.given_up));
            vm.change(|vm| vm.acked = true);
        })
    };
    let ender = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            // Asked for, and then in the queue.
            drop(vm.wait_until(|vm| !vm.owned));
            vm.change(|vm| vm.given_up = true);
        })
    };
    drop(vm.wait_until(|vm| vm.acked));
    vm.change(|vm| vm.owned = false);
    join(vcpu);
    join(ender);
}

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _: usize) {}
}

/// What a page is: it is missing first.
const CAME: u32 = 1;
const GIVEN_UP: u32 = 2;

struct Bed {
    vcpus: Arc<Group>,
    workers: Arc<Group>,
    page: Arc<FutexWord>,
    ends: Arc<Ends>,
}

impl Bed {
    fn new() -> Self {
        let [vcpus, workers] = [(), ()].map(|()| Group::new(1, Box::new(NoKick)));
        let page = Arc::new(FutexWord::new(0));
        Self { vcpus, workers, page, ends: Arc::new(Ends::default()) }
    }

    /// A member that touches the page when it runs, and does as it is told when it has come back.
    fn spawn(&self, group: &Arc<Group>) -> thread::JoinHandle<()> {
        let (Some(mut member), page) = (group.member(0), Arc::clone(&self.page)) else {
            panic!("it has an owner already")
        };
        thread::spawn(move || {
            if member.start() != Ok(Parked::Resumed) {
                return;
            }
            page.wait(0, None);
            loop {
                match member.next() {
                    Step::Kill => return,
                    Step::Pause { epoch } => {
                        if member.park(epoch) == Parked::Killed {
                            return;
                        }
                    }
                    step => {
                        assert_eq!(page.load(), CAME, "{step:?} with a page that was given up");
                        return;
                    }
                }
            }
        })
    }

    /// Announces an end, and asks for it by being joined.
    fn ask_end(&self, first: impl FnOnce() + Send + 'static) -> thread::JoinHandle<impl Sized> {
        let ends = Arc::clone(&self.ends);
        let groups = [&self.vcpus, &self.workers].map(Arc::clone);
        thread::spawn(move || {
            first();
            let asked = ends.ask();
            for group in groups {
                group.remind();
            }
            asked
        })
    }

    fn pause(&self) -> Result<[Quiesced; 2], PauseError> {
        let pause =
            |group: &Arc<Group>| group.pause_unless(Deadline::Never, || self.ends.is_asked());
        // vCPUs first.
        let vcpus = pause(&self.vcpus)?;
        Ok([vcpus, pause(&self.workers)?])
    }

    /// As `Vm` ends, and `LazyRam` gives up.
    fn end(&self) {
        self.vcpus.kill_all();
        self.workers.kill_all();
        if self.page.load() != CAME {
            self.page.add(GIVEN_UP);
        }
        self.page.wake_all();
    }
}

/// The pauser comes back, with whatever; then the end is its turn.
fn run(bed: &Bed, group: &Arc<Group>, first: impl FnOnce() + Send + 'static) {
    let waits = bed.spawn(group);
    let ender = bed.ask_end(first);
    let paused = bed.pause();
    match &paused {
        Ok(_) => assert!(!group.words().any(Word::owes_ack)),
        Err(PauseError::GivenUp(stuck)) => assert_eq!(stuck.members[0].member, 0),
        Err(error) => panic!("{error}"),
    }
    let asked = join(ender);
    bed.end();
    join(waits);
    drop((asked, paused));
    let words = || bed.vcpus.words().chain(bed.workers.words());
    assert!(words().all(|word| word.holders() == 0));
    assert!(!bed.ends.is_asked());
}

fn vcpu() {
    let bed = Bed::new();
    run(&bed, &bed.vcpus, || {});
}

fn worker() {
    let bed = Bed::new();
    run(&bed, &bed.workers, || {});
}

fn in_time() {
    let bed = Bed::new();
    let page = Arc::clone(&bed.page);
    run(&bed, &bed.vcpus, move || {
        page.add(CAME);
        page.wake_all();
    });
}
