//! A throttled VM: its share, pauses of it, and the resume that waits until all vCPUs are in the guest.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

#[expect(clippy::disallowed_types, reason = "on the tests' own threads")]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embedded::scheduled::{Held, Threads};
use embedded::{HANG, TestVm, until};
use stillpoint_guest::{Mode, layout};
use vcpu_state::throttle::{DutyCycle, Throttle};
use vcpu_state::{Deadline, Word};
use vmm::control::{ControlError, VmmControl};

/// How far the share may be from its set point.
const POINTS: f64 = 2.0;
/// Others that take less than that from a vCPU leave it in peace, in percent of the time.
const TAKEN: f64 = 5.0;
/// Windows at most, until there is peace. The share is judged in any case.
const WINDOWS: u32 = 4;

/// One VM at a time: they want the processors, and their threads are found by name.
#[expect(clippy::disallowed_types, reason = "on the tests' own threads")]
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn duty(percent: u8, millis: u64) -> DutyCycle {
    DutyCycle::new(percent, Duration::from_millis(millis)).unwrap()
}

/// Waits for the end of a stop, so that what is looked at has begun or ends with a whole cycle.
fn await_cycles(throttle: &Throttle, more: u64) {
    let then = throttle.measured().cycles;
    let state = || format!("{:?}", throttle.measured());
    until("cycles of the throttle", || throttle.measured().cycles >= then + more, state);
}

/// What the scheduler saw of the vCPUs in a number of whole cycles that take at least so long. Nothing
/// where it does not say.
fn held(vm: &TestVm, throttle: &Throttle, window: Duration) -> Option<Vec<Held>> {
    let threads = Threads::of_the_vm(vm.vmm.info().unwrap().vcpus.len());
    vm.vmm.pause().unwrap();
    let Some(begun) = threads.begin(|| drop(vm.vmm.resume().unwrap())) else {
        eprintln!("left out: this host's scheduler does not say for how long threads sleep");
        vm.vmm.resume().map(drop).unwrap();
        return None;
    };
    let now = Instant::now();
    until("the time to pass", || now.elapsed() >= window, || format!("{:?}", throttle.measured()));
    await_cycles(throttle, 1);
    let held = threads.end(&begun, || vm.vmm.pause().unwrap());
    drop(vm.vmm.resume().unwrap());
    Some(held)
}

/// The same of the window, out of a few, in which others took the least from the vCPUs, which is the first if they take
/// little. What they take is between the bounds of [`Held`], and how they take it decides when a vCPU gets to its park.
fn held_in_peace(vm: &TestVm, throttle: &Throttle, window: Duration) -> Option<Vec<Held>> {
    let taken = |held: &[Held]| held.iter().map(Held::taken).fold(0.0, f64::max);
    let mut best = held(vm, throttle, window)?;
    for _ in 1..WINDOWS {
        if taken(&best) < TAKEN {
            break;
        }
        let next = held(vm, throttle, window)?;
        if taken(&next) < taken(&best) {
            best = next;
        }
    }
    Some(best)
}

fn assert_kept(vm: &TestVm, throttle: &Throttle, window: Duration) {
    let set = f64::from(throttle.duty().percent());
    let Some(held) = held_in_peace(vm, throttle, window) else { return };
    let kept = held.iter().all(|held| held.error(set) < POINTS);
    assert!(kept, "{:?}: {held:.2?}, {:?}", throttle.duty(), throttle.measured());
}

#[test]
fn the_share_is_kept_at_every_set_point_and_period() {
    let _alone = alone();
    let vm = TestVm::boot(2, "mode=busy quiet");
    for (millis, window) in [(1, 1), (10, 1), (100, 3)] {
        for percent in [1, 10, 50, 90, 99] {
            let throttle = vm.vmm.throttle(0..2, duty(percent, millis)).unwrap();
            assert_kept(&vm, &throttle, Duration::from_secs(window));
        }
    }
    vm.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn one_vcpu_is_throttled_and_the_other_is_not() {
    let _alone = alone();
    let vm = TestVm::boot(2, "mode=busy quiet");
    let throttle = vm.vmm.throttle(1..2, duty(90, 10)).unwrap();
    let Some(held) = held(&vm, &throttle, Duration::from_secs(1)) else { return };
    let [spins, held] = held[..] else { panic!("two vCPUs: {held:?}") };
    assert!(spins.error(0.0) < POINTS && held.error(90.0) < POINTS, "{spins:?}, {held:?}");
}

#[test]
fn a_throttle_is_never_in_the_way_of_a_pause() {
    let _alone = alone();
    let vm = TestVm::boot(2, "mode=busy quiet");
    let unthrottled = pauses(&vm, None);
    for percent in [10, 90] {
        let throttle = vm.vmm.throttle(0..2, duty(percent, 5)).unwrap();
        let throttled = pauses(&vm, Some(&throttle));
        // Generous: it is found at once if a pause waits for a half to end.
        assert!(throttled < unthrottled * 8, "{percent} %: {throttled:?}, {unthrottled:?} without");
        // And it is in force as before.
        await_cycles(&throttle, 3);
        assert_kept(&vm, &throttle, Duration::from_secs(1));
    }
}

/// Pauses and resumes at instants all over the throttle's cycle; the median of what the pauses took.
fn pauses(vm: &TestVm, throttle: Option<&Throttle>) -> Duration {
    let mut took = Vec::new();
    for number in 0..100_u32 {
        let nap =
            rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(number * 37 % 100) * 60_000 };
        let _ = rustix::thread::nanosleep(&nap);
        let begun = Instant::now();
        vm.vmm.pause().unwrap();
        took.push(begun.elapsed());
        let lines = vm.all_lines();
        if let Some(throttle) = throttle {
            let cycles = throttle.measured().cycles;
            assert!(vm.vmm.info().unwrap().vcpus.iter().all(|vcpu| vcpu.state.contains("PAUSED")));
            // At most the stop ends that was in progress.
            assert!(throttle.measured().cycles <= cycles + 1);
        }
        assert_eq!(lines, vm.all_lines(), "a counter of the guest moved");
        drop(vm.vmm.resume().unwrap());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

#[test]
fn a_throttled_vm_can_be_ended_and_its_throttle_dropped_after_it() {
    let _alone = alone();
    for percent in [1, 99] {
        let vm = TestVm::boot(4, "mode=io quiet");
        let throttle = vm.vmm.throttle(0..4, duty(percent, 1)).unwrap();
        await_cycles(&throttle, 5);
        vm.vmm.pause().unwrap();
        vm.vmm.reboot().unwrap();
        vm.await_up();
        drop(throttle);
        let throttle = vm.vmm.throttle(0..4, duty(percent, 1)).unwrap();
        await_cycles(&throttle, 5);
        vm.vmm.delete().unwrap();
        assert!(matches!(vm.vmm.throttle(0..4, duty(50, 1)), Err(ControlError::NotCreated)));
        drop(vm);
        drop(throttle);
    }
}

#[test]
fn a_resume_can_be_waited_for_until_all_are_in_the_guest() {
    let _alone = alone();
    let in_guest = |vm: &TestVm| {
        let words = vm.vmm.info().unwrap().vcpus.into_iter().map(|vcpu| Word::from_bits(vcpu.word));
        words.filter(|word| word.any(Word::IN_GUEST)).count()
    };
    for mode in Mode::ALL {
        let vm = TestVm::boot(4, &format!("mode={} quiet", mode.name()));
        for _ in 0..20 {
            vm.vmm.pause().unwrap();
            // Nobody can run: there is nobody to wait for.
            vm.vmm.wait_in_guest(Deadline::After(HANG)).unwrap();
            assert_eq!(in_guest(&vm), 0);
            drop(vm.vmm.resume().unwrap());
            vm.vmm.wait_in_guest(Deadline::After(HANG)).unwrap();
            // Those that halt or spin stay there; those that storm have been there.
            if matches!(mode, Mode::Halt | Mode::Busy) {
                assert_eq!(in_guest(&vm), 4, "{mode:?}");
            }
        }
    }
}
