//! The protocol at the size of a machine: 32 vCPUs, four pausers, a killer that plugs what it killed, an
//! activator, and a throttle that comes and goes; production's words and groups over the model KVM_RUN, under
//! shuttle's random schedules.
//!
//! shuttle is sequentially consistent and does not exhaust anything: what loom finds in two vCPUs it may
//! miss, and the other way round. Its uniformly random scheduler and its priority-based one (PCT) find
//! different things, so both are run.
//!
//! Invariants: every pause that succeeds finds every vCPU still; every pause that does not has taken its
//! request back; a killed vCPU dies wherever it is; a slot is plugged again only after that; every ticket is
//! waited for to its end or to the vCPU's; a throttle keeps nobody from that, and none of its holds outlives it; at
//! the end all are dead and nobody is held.

use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};
use vcpu_state::throttle::{DutyCycle, Pace, Throttle};
use vcpu_state::{Completer, Deadline, OneShot, Outcome, PauseError, Ticket, Word};

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::kvm::Handler as Signal;
use crate::vcpu::{Handled, Report};

/// vCPUs of the model VM.
pub const VCPUS: usize = 32;
/// Controllers that pause it.
pub const PAUSERS: usize = 4;
/// Pauses of each.
const PAUSES: usize = 3;
/// vCPUs that are killed and plugged again.
const REPLUGGED: std::ops::Range<usize> = 8..14;
/// vCPUs that are asked for an NMI.
const ASKED: std::ops::Range<usize> = 20..VCPUS;
/// vCPUs that write DRIVER_OK.
const ACTIVATING: std::ops::Range<usize> = 0..6;
/// vCPUs that are throttled, some after others: among them some that are killed, activate and end by themselves.
const THROTTLED: [std::ops::Range<usize>; 3] = [0..10, 12..24, 0..VCPUS];

/// Explores so many uniformly random schedules, the same ones for the same seed.
pub fn random(handler: Signal, seed: u64, schedules: usize) {
    let scheduler = RandomScheduler::new_from_seed(seed, schedules);
    Runner::new(scheduler, config()).run(move || machine(handler));
}

/// Explores so many schedules by priorities that change at `depth` - 1 random places.
pub fn pct(handler: Signal, seed: u64, depth: usize, schedules: usize) {
    let scheduler = PctScheduler::new_from_seed(seed, depth, schedules);
    Runner::new(scheduler, config()).run(move || machine(handler));
}

/// Explores so many schedules of each kind and prints a line for each, as the loom runner does; a failure
/// panics with the schedule that led to it.
pub fn table(schedules: u64, seed: u64) {
    let handler = Signal::StoreImmediateExit;
    let count = usize::try_from(schedules).unwrap_or(usize::MAX);
    timed("random", schedules, || random(handler, seed, count));
    for depth in [2, 3, 5] {
        timed(&format!("pct{depth}"), schedules, || pct(handler, seed, depth, count));
    }
}

fn timed(scheduler: &str, executions: u64, explore: impl FnOnce()) {
    let begun = Instant::now();
    explore();
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "model scale half=ours bound={scheduler} executions={executions} seconds={seconds:.2} result=none"
    );
}

/// A schedule that is longer than this has stopped making progress; the longest that does not has a
/// tenth.
const MAX_STEPS: usize = 400_000;

fn config() -> Config {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config
}

/// One execution.
fn machine(handler: Signal) {
    let bed = Bed::with_handler(VCPUS, handler);
    let (scripts, completers): (Vec<_>, Vec<_>) = (0..VCPUS).map(|i| script(&bed, i)).unzip();
    let mut vcpus: Vec<_> = scripts.into_iter().enumerate().map(|(i, s)| bed.spawn(i, s)).collect();
    let pausers: Vec<_> = (0..PAUSERS)
        .map(|number| {
            let bed = bed.clone();
            thread::spawn(move || pauses(&bed, number))
        })
        .collect();
    let throttler = {
        let bed = bed.clone();
        thread::spawn(move || {
            for vcpus in THROTTLED {
                throttle(&bed, vcpus);
            }
        })
    };
    let activator = thread::spawn(move || activate(completers.into_iter().flatten().collect()));
    let unplugged = vcpus.drain(REPLUGGED).collect();
    let killer = {
        let bed = bed.clone();
        thread::spawn(move || replug(&bed, unplugged))
    };
    for vcpu in ASKED {
        assert_eq!(bed.group.ask(vcpu, OneShot::Nmi), Ok(()));
    }
    vcpus.extend(join(killer));
    join(activator);
    join(throttler);
    pausers.into_iter().for_each(join);
    // Everybody has let go; the VM runs, and is shut down.
    drop(bed.pause());
    let reports = bed.end(vcpus);
    assert_eq!(reports.len(), VCPUS);
    assert!(reports.iter().all(|report| report.nmis <= 1), "one NMI was injected twice");
    for word in bed.group.words() {
        assert!(word.any(Word::DEAD) && word.holders() == 0 && word.is_coherent(), "{word}");
    }
}

/// What a vCPU's guest does, and the end of the activation that it starts, if it does.
fn script(bed: &Bed, vcpu: usize) -> (Script, Option<Completer>) {
    if ACTIVATING.contains(&vcpu) {
        let (ticket, completer) = Ticket::new(&bed.group);
        let script = Script::halt().exit(|| Handled::Done).wait(ticket);
        return (script, Some(completer));
    }
    let script = match vcpu % 4 {
        0 => Script::halt(),
        1 => Script::halt().exit(|| Handled::Done),
        2 => Script::halt().exit(|| Handled::Done).exit(|| Handled::Done),
        // Its thread ends by itself; but one that is asked for an NMI must be there to be asked.
        _ if !ASKED.contains(&vcpu) => Script::halt().exit(|| Handled::Done).end(),
        _ => Script::halt(),
    };
    (script, None)
}

fn pauses(bed: &Bed, number: usize) {
    for _ in 0..PAUSES {
        if number > 0 {
            drop(bed.pause());
            continue;
        }
        // One whose deadline has passed before it begins: the words decide.
        match bed.group.pause(Deadline::After(Duration::ZERO)) {
            Ok(quiesced) => {
                bed.assert_still();
                drop(quiesced);
            }
            Err(PauseError::Stuck(stuck)) => {
                assert!(stuck.members.iter().all(|stuck| stuck.word.owes_ack()), "{stuck}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Time is the schedule's: a few halves are over when they are looked at; the next lasts until the end.
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

/// Throttles some vCPUs for a while, and lets go of them whatever half it is in.
fn throttle(bed: &Bed, vcpus: std::ops::Range<usize>) {
    let duty = |percent| match DutyCycle::new(percent, DutyCycle::SHORTEST) {
        Ok(duty) => duty,
        Err(error) => panic!("{error}"),
    };
    let halves = Halves(thread_rng().gen_range(0..6));
    let throttle = match Throttle::start(&bed.group, vcpus, duty(50), halves) {
        Ok(throttle) => throttle,
        Err(error) => panic!("{error}"),
    };
    for _ in 0..thread_rng().gen_range(0..30) {
        thread::yield_now();
    }
    throttle.retune(duty(90));
    drop(throttle);
}

/// Ends each activation: most are done, some fail, and of one the worker is lost.
fn activate(mut completers: Vec<Completer>) {
    drop(completers.pop());
    for completer in completers {
        let works = thread_rng().gen_bool(0.7);
        completer.complete(if works { Outcome::Done } else { Outcome::Failed });
    }
}

/// Kills each vCPU, plugs another one into its slot, and returns the threads of those.
fn replug(bed: &Bed, threads: Vec<thread::JoinHandle<Report>>) -> Vec<thread::JoinHandle<Report>> {
    let plug = |(vcpu, thread)| {
        bed.group.kill(vcpu);
        join(thread);
        assert_eq!(bed.group.reincarnate(vcpu), Ok(()));
        bed.kvm.replace(vcpu);
        bed.spawn(vcpu, Script::halt().exit(|| Handled::Done))
    };
    REPLUGGED.zip(threads).map(plug).collect()
}
