//! The count, told made-up times.

use std::time::{Duration, Instant};

use super::*;
use crate::watchdog::count::{Count, Looked};

/// A watchdog with stages of so many milliseconds (or very nearly), enabled by this value of the lock register.
fn counting(milliseconds: u32, lock: u8) -> (Watchdog, Count, Instant) {
    let (watchdog, _) = watchdog(Past::Other);
    set_preload(&watchdog, milliseconds);
    set_config(&watchdog, 0x68, lock);
    (watchdog, Count::default(), Instant::now())
}

/// What a look so many microseconds after the beginning finds.
fn at(count: &mut Count, watchdog: &Watchdog, begun: Instant, micros: u64) -> Looked {
    count.look(&watchdog.shared.registers, begun + Duration::from_micros(micros))
}

/// A stage of 1000: 1000 · 2¹⁵ clocks of 33 MHz.
const STAGE: u64 = 992_969;

#[test]
fn it_expires_after_both_stages_once() {
    let (watchdog, mut count, begun) = counting(1000, 2);
    let mut at = |micros| at(&mut count, &watchdog, begun, micros);
    assert_eq!(at(0).idle.map(|idle| idle.as_micros()), Some(u128::from(STAGE)));
    assert!(at(STAGE - 1).idle.is_some_and(|idle| idle < Duration::from_micros(3)));
    // A thread that comes late: the second stage is whole.
    let second = at(STAGE + 500_000);
    assert_eq!(second.idle.map(|idle| idle.as_micros()), Some(u128::from(STAGE)));
    assert!(!at(2 * STAGE + 499_000).expired);
    assert_eq!(at(2 * STAGE + 500_001), Looked { idle: None, expired: true });
    assert_eq!(at(9 * STAGE), Looked { idle: None, expired: false });
    assert_eq!(read(&watchdog, 0xC), 0x200);
}

#[test]
fn a_reload_begins_anew_even_when_the_time_is_up() {
    let (watchdog, mut count, begun) = counting(1000, 2);
    at(&mut count, &watchdog, begun, 0);
    at(&mut count, &watchdog, begun, STAGE + 1);
    // The time is up, but nobody has looked.
    reload(&watchdog);
    let looked = at(&mut count, &watchdog, begun, 3 * STAGE);
    assert_eq!(looked.idle.map(|idle| idle.as_micros()), Some(u128::from(STAGE)));
    assert!(!looked.expired);
    // Once it is off it counts no longer, and enabling begins anew.
    set_config(&watchdog, 0x68, 0);
    assert_eq!(at(&mut count, &watchdog, begun, 9 * STAGE), Looked { idle: None, expired: false });
    set_config(&watchdog, 0x68, 2);
    let looked = at(&mut count, &watchdog, begun, 20 * STAGE);
    assert_eq!(looked.idle.map(|idle| idle.as_micros()), Some(u128::from(STAGE)));
}

#[test]
fn it_stands_still_in_a_pause_and_has_what_was_left() {
    let (watchdog, mut count, begun) = counting(1000, 2);
    let time = |micros| begun + Duration::from_micros(micros);
    at(&mut count, &watchdog, begun, 0);
    at(&mut count, &watchdog, begun, STAGE + 1);
    // 400 ms into the second stage; the pause lasts for a hundred stages.
    let left = count.stand_still(time(STAGE + 400_001));
    assert_eq!(count.stand_still(time(50 * STAGE)), None, "it stands still already");
    count.go_on(left, time(101 * STAGE));
    let looked = at(&mut count, &watchdog, begun, 101 * STAGE);
    assert_eq!(looked.idle.map(|idle| idle.as_micros()), Some(u128::from(STAGE - 400_000)));
    let end = 101 * STAGE + STAGE - 400_000;
    assert!(!at(&mut count, &watchdog, begun, end - 10).expired);
    assert!(at(&mut count, &watchdog, begun, end + 10).expired);
    // What does not count stands still, too.
    assert_eq!(count.stand_still(time(end + 20)), None);
    count.go_on(None, time(end + 30));
    assert_eq!(at(&mut count, &watchdog, begun, end + 40).idle, None);
}

#[test]
fn one_that_runs_free_begins_again_and_one_without_output_has_no_effect() {
    let (watchdog, mut count, begun) = counting(1000, 6);
    set_config(&watchdog, 0x60, 0x20);
    for round in 0..3 {
        at(&mut count, &watchdog, begun, (2 * STAGE + 2) * round);
        at(&mut count, &watchdog, begun, (2 * STAGE + 2) * round + STAGE + 1);
    }
    let looked = at(&mut count, &watchdog, begun, (2 * STAGE + 2) * 3);
    assert!(!looked.expired && looked.idle.is_some());
    assert_eq!(read(&watchdog, 0xC), 0x200);
}

#[test]
fn the_longest_and_the_shortest_stage() {
    const CLOCKS: u64 = 0xF_FFFF;
    for (preload, prescaler, nanoseconds) in [
        (u32::MAX, 0, (CLOCKS << 15) * 1_000 / 33),
        (u32::MAX, 4, (CLOCKS << 5) * 1_000 / 33),
        (0, 0, 1_000_000),
        (1, 4, 1_000_000),
    ] {
        let expected = Duration::from_nanos(nanoseconds);
        let (watchdog, mut count, begun) = counting(preload, 0);
        set_config(&watchdog, 0x60, prescaler);
        set_config(&watchdog, 0x68, 2);
        assert_eq!(at(&mut count, &watchdog, begun, 0).idle, Some(expected));
    }
}
