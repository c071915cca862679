//! A watchdog that is saved and restored: it bites when it would have.

use std::time::Duration;

use super::*;
use crate::watchdog::testing::MadeUpClock;
use crate::watchdog::{SavedStage, SavedWatchdog};

/// Preload 1000, the slow prescaler: 1000 × 2¹⁵ clocks of 33 MHz.
const STAGE: Duration = Duration::from_nanos(992_969_696);

fn counting() -> (Watchdog, Arc<Told>) {
    let (watchdog, told) = watchdog(Past::Other);
    set_preload(&watchdog, 1000);
    set_config(&watchdog, 0x68, 2);
    (watchdog, told)
}

#[test]
fn what_was_left_of_a_stage_is_left() {
    let (first, _) = counting();
    let mut clock = MadeUpClock::of(&first);
    assert!(!clock.look(Duration::ZERO));
    assert!(!clock.look(STAGE + Duration::from_millis(1)), "the second stage");
    clock.stand_still(STAGE + Duration::from_millis(401));
    let saved = first.save();
    let left = Duration::from_nanos(592_969_696);
    assert_eq!(saved.left, Some(SavedStage::Second(u64::try_from(left.as_nanos()).unwrap())));
    let (second, _) = watchdog(Past::Other);
    second.restore(&saved).unwrap();
    assert_eq!(second.save(), saved);
    let mut clock = MadeUpClock::of(&second);
    let hour = Duration::from_hours(1);
    clock.go_on(hour);
    assert!(!clock.look(hour + left / 2));
    assert!(clock.look(hour + left + Duration::from_micros(1)));
}

#[test]
fn a_reload_that_the_clock_has_not_seen_counts_anew() {
    let (first, _) = counting();
    let mut clock = MadeUpClock::of(&first);
    assert!(!clock.look(Duration::ZERO));
    clock.stand_still(STAGE);
    reload(&first);
    let (second, _) = watchdog(Past::Other);
    second.restore(&first.save()).unwrap();
    let mut clock = MadeUpClock::of(&second);
    clock.go_on(Duration::ZERO);
    for at in [STAGE / 2, STAGE + STAGE / 2] {
        assert!(!clock.look(at));
    }
    assert!(clock.look(STAGE * 3));
}

#[test]
fn registers_and_times_that_cannot_be_are_refused() {
    let (watchdog, _) = watchdog(Past::Other);
    let good = watchdog.save();
    let restart_of_nothing = good.word | 1 << 46;
    for bad in [
        SavedWatchdog { word: 1 << 63, ..good.clone() },
        SavedWatchdog { word: restart_of_nothing, ..good.clone() },
        SavedWatchdog { left: Some(SavedStage::First(u64::MAX)), ..good.clone() },
    ] {
        assert!(watchdog.restore(&bad).is_err());
        assert_eq!(watchdog.save(), good);
    }
}
