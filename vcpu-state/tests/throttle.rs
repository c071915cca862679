//! The throttle: its controller against a simulated host, and its thread against real members.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use vcpu_state::throttle::{Controller, DutyCycle, Throttle, WallClock};
use vcpu_state::{Deadline, Group, Kick, Member, Parked, Step, Word};

/// A host that is late: by so much at each half, a bit more or less, and now and then by a lot.
#[derive(Clone, Debug)]
struct Host {
    stop_late: Duration,
    run_late: Duration,
    /// Of each lateness, in percent.
    jitter: u32,
    /// Every so many halves one is late by so much more.
    stall: (usize, Duration),
    noise: Vec<u32>,
}

impl Host {
    fn half(&self, number: usize, slept: Duration, late: Duration) -> Duration {
        let noise = self.noise[number % self.noise.len()] % (2 * self.jitter + 1);
        let late = late * (100 - self.jitter + noise) / 100;
        let stall =
            if number % self.stall.0 == self.stall.0 - 1 { self.stall.1 } else { Duration::ZERO };
        slept + late + stall
    }

    /// The share that comes about in so long, once the controller has seen the host for a while.
    fn share(&self, duty: DutyCycle, halves: usize) -> f64 {
        let mut controller = Controller::new(duty);
        let (mut running, mut stopped) = (Duration::ZERO, Duration::ZERO);
        for cycle in 0..halves / 2 {
            let slept = controller.run_for();
            let ran = self.half(2 * cycle, slept, self.run_late);
            controller.ran(slept, ran);
            let slept = controller.stop_for();
            let stood = self.half(2 * cycle + 1, slept, self.stop_late);
            controller.stopped(slept, stood);
            (running, stopped) = (running + ran, stopped + stood);
        }
        100.0 * stopped.as_secs_f64() / (stopped + running).as_secs_f64()
    }
}

fn host() -> impl Strategy<Value = Host> {
    let micros = |range| Strategy::prop_map(range, Duration::from_micros);
    let noise = prop::collection::vec(any::<u32>(), 97);
    (
        micros(0..2000_u64),
        micros(0..2000_u64),
        0..100_u32,
        50..500_usize,
        micros(0..5000_u64),
        noise,
    )
        .prop_map(|(stop_late, run_late, jitter, every, stall, noise)| Host {
            stop_late,
            run_late,
            jitter,
            stall: (every, stall),
            noise,
        })
}

proptest! {
    /// Whatever the host's latencies, in the long run the share is the set point.
    #[test]
    fn the_set_point_is_kept(host in host(), percent in 1..=99_u8, micros in 1000..200_000_u64) {
        let duty = DutyCycle::new(percent, Duration::from_micros(micros)).unwrap();
        let share = host.share(duty, 6000);
        prop_assert!((share - f64::from(percent)).abs() < 1.0, "{share} % instead of {percent} %");
    }

    /// On a host that is never late the period is kept, too.
    #[test]
    fn without_latency_the_halves_are_exact(percent in 1..=99_u8, micros in 1000..200_000_u64) {
        let period = Duration::from_micros(micros);
        let mut controller = Controller::new(DutyCycle::new(percent, period).unwrap());
        for _ in 0..10 {
            let (run, stop) = (controller.run_for(), {
                let run = controller.run_for();
                controller.ran(run, run);
                controller.stop_for()
            });
            controller.stopped(stop, stop);
            let off = (run + stop).abs_diff(period);
            prop_assert!(off < Duration::from_micros(1), "{run:?} and {stop:?} are not {period:?}");
        }
    }

    /// Members that stop apart from each other have their share each, within a point, because the cycle is long enough.
    #[test]
    fn each_member_has_its_share(
        percent in 1..=99_u8,
        micros in 1000..200_000_u64,
        apart in 0..50_u64,
    ) {
        let (period, apart) = (Duration::from_micros(micros), Duration::from_micros(apart));
        let mut controller = Controller::new(DutyCycle::new(percent, period).unwrap());
        let (mut cycle, mut stopped) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..300 {
            let ran = controller.run_for();
            controller.ran(ran, ran);
            controller.stopped_apart(apart);
            stopped = controller.stop_for();
            controller.stopped(stopped, stopped);
            cycle = ran + stopped;
        }
        for own in [stopped + apart / 2, stopped.saturating_sub(apart / 2)] {
            let share = 100.0 * own.as_secs_f64() / cycle.as_secs_f64();
            let off = (share - f64::from(percent)).abs();
            prop_assert!(off < 1.1, "{share} % instead of {percent} % of {cycle:?}");
        }
        let longest = period.max(51 * apart) + Duration::from_micros(1);
        prop_assert!(cycle <= longest, "{cycle:?} instead of {period:?}");
    }

    /// What the guest loses is within a point of the set point, and so is what its vCPUs sleep, because the cycle is long enough for
    /// the ways between.
    #[test]
    fn ways_out_and_in_are_small_in_a_cycle(
        percent in 1..=99_u8,
        micros in 1000..200_000_u64,
        ways in 0..400_u64,
    ) {
        let (period, ways) = (Duration::from_micros(micros), Duration::from_micros(ways));
        let mut controller = Controller::new(DutyCycle::new(percent, period).unwrap());
        let (mut cycle, mut stopped) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..300 {
            let ran = controller.run_for();
            controller.ran(ran, ran);
            controller.ways(ways);
            stopped = controller.stop_for();
            controller.stopped(stopped, stopped);
            cycle = ran + stopped;
        }
        for seen in [stopped + ways / 2, stopped.saturating_sub(ways / 2)] {
            let share = 100.0 * seen.as_secs_f64() / cycle.as_secs_f64();
            let off = (share - f64::from(percent)).abs();
            prop_assert!(off < 1.1, "{share} % instead of {percent} % of {cycle:?}");
        }
        let longest = period.max(50 * ways) + Duration::from_micros(1);
        prop_assert!(cycle <= longest, "{cycle:?} instead of {period:?}");
    }

    /// Halves in which others held the members move nothing.
    #[test]
    fn disturbed_halves_are_as_they_should_have_been(percent in 1..=99_u8) {
        let duty = DutyCycle::new(percent, Duration::from_millis(10)).unwrap();
        let mut controller = Controller::new(duty);
        let run = controller.run_for();
        for _ in 0..1000 {
            controller.ran_disturbed();
            controller.stopped_disturbed();
        }
        prop_assert!(controller.run_for().abs_diff(run) < Duration::from_micros(1));
    }
}

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _member: usize) {}
}

/// A member that enters and leaves until it is killed.
fn spin(mut member: Member) {
    if member.start() != Ok(Parked::Resumed) {
        return;
    }
    loop {
        match member.next() {
            Step::Kill => return,
            Step::Pause { epoch } => drop(member.park(epoch) == Parked::Resumed),
            Step::Enter if member.enter().is_ok() => member.leave(),
            _ => thread::yield_now(),
        }
    }
}

fn group(members: usize) -> (Arc<Group>, Vec<thread::JoinHandle<()>>) {
    let group = Group::new(members, Box::new(NoKick));
    let spinning = |index| {
        let member = group.member(index).unwrap();
        thread::spawn(move || spin(member))
    };
    let threads = (0..members).map(spinning).collect();
    (group, threads)
}

fn end(group: &Group, threads: Vec<thread::JoinHandle<()>>) {
    group.kill_all();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn duty(percent: u8, millis: u64) -> DutyCycle {
    DutyCycle::new(percent, Duration::from_millis(millis)).unwrap()
}

/// Looks until a member is, or is not, held.
fn await_held(group: &Group, member: usize, held: bool) {
    while group.word(member).unwrap().any(Word::PAUSE_REQUESTED) != held {
        thread::yield_now();
    }
}

#[test]
fn a_dropped_throttle_holds_nobody() {
    let (group, threads) = group(2);
    // Dropped in its stop, in its run and before either.
    for percent in [99, 1] {
        let throttle = Throttle::start(&group, 0..2, duty(percent, 3_600_000), WallClock).unwrap();
        drop(throttle);
        let throttle = Throttle::start(&group, 0..2, duty(percent, 1), WallClock).unwrap();
        await_held(&group, 1, true);
        throttle.retune(duty(99, 3_600_000));
        drop(throttle);
        assert!(group.words().all(|word| word.holders() == 0));
    }
    end(&group, threads);
}

#[test]
fn a_throttle_on_a_member_that_never_stops_can_be_dropped() {
    let group = Group::new(1, Box::new(NoKick));
    let mut stuck = group.member(0).unwrap();
    stuck.start().unwrap();
    stuck.enter().unwrap();
    let throttle = Throttle::start(&group, 0..1, duty(50, 1), WallClock).unwrap();
    await_held(&group, 0, true);
    drop(throttle);
    assert_eq!(group.word(0).unwrap().holders(), 0);
}

#[test]
fn a_retune_takes_effect_in_the_half_that_is_in_progress() {
    let (group, threads) = group(1);
    let throttle = Throttle::start(&group, 0..1, duty(1, 3_600_000), WallClock).unwrap();
    throttle.retune(duty(50, 1));
    await_held(&group, 0, true);
    throttle.retune(duty(99, 3_600_000));
    await_held(&group, 0, true);
    // It would be held for an hour now.
    throttle.retune(duty(1, 2));
    await_held(&group, 0, false);
    assert_eq!(throttle.duty(), duty(1, 2));
    drop(throttle);
    end(&group, threads);
}

#[test]
fn only_its_members_are_throttled() {
    let (group, threads) = group(3);
    let epochs = |group: &Group| group.words().map(Word::epoch).collect::<Vec<_>>();
    let throttle = Throttle::start(&group, 1..2, duty(50, 1), WallClock).unwrap();
    while epochs(&group)[1] < 20 {
        thread::yield_now();
    }
    assert_eq!([epochs(&group)[0], epochs(&group)[2]], [0, 0]);
    drop(throttle);
    end(&group, threads);
}

#[test]
fn it_waits_with_a_pause_and_goes_on_after_it() {
    let (group, threads) = group(2);
    let throttle = Throttle::start(&group, 0..2, duty(50, 1), WallClock).unwrap();
    for _ in 0..20 {
        let quiesced = group.pause(Deadline::Never).unwrap();
        assert!(group.words().all(Word::is_quiescent));
        // Its request may be in each word as well, or not; when it lets go, it waits.
        while group.word(0).unwrap().holders() > 1 {
            thread::yield_now();
        }
        assert!(group.words().all(Word::is_quiescent));
        drop(quiesced);
        let cycles = throttle.measured().cycles;
        while throttle.measured().cycles < cycles + 2 {
            thread::yield_now();
        }
    }
    drop(throttle);
    end(&group, threads);
}

#[test]
fn members_of_a_throttled_group_can_be_killed() {
    let (group, threads) = group(2);
    let throttle = Throttle::start(&group, 0..2, duty(90, 1), WallClock).unwrap();
    await_held(&group, 0, true);
    end(&group, threads);
    group.wait_dead(Deadline::Never).unwrap();
    drop(throttle);
    assert!(group.words().all(|word| word.any(Word::DEAD) && word.holders() == 0));
}
