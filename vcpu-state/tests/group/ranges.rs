//! Pauses of some: they hold those and wait for those, while the others go on.

use std::thread;
use std::time::Duration;

use vcpu_state::{Deadline, PauseError, Released, Word};

use crate::counting::{await_progress, group, join, run, sum};

#[test]
fn a_range_is_held_while_the_others_go_on() {
    let group = group(4);
    let (threads, counters) = run(&group);
    await_progress(&counters, &[0; 4]);
    let held = group.pause_range(1..3, Deadline::Never).unwrap();
    let still = sum(&counters);
    let others = |all: &[u64]| [all[0], all[3]];
    while others(&sum(&counters)).iter().zip(others(&still)).any(|(now, then)| *now == then) {
        thread::yield_now();
    }
    assert_eq!(sum(&counters)[1..3], still[1..3]);
    // A pause of all comes and goes meanwhile; the range stays held.
    drop(group.pause(Deadline::Never).unwrap());
    assert_eq!(sum(&counters)[1..3], still[1..3]);
    assert_eq!(held.resume(), Released::Running);
    await_progress(&counters, &still);
    // What the group does not have is left out.
    drop(group.pause_range(3..99, Deadline::Never).unwrap());
    drop(group.pause_range(7..9, Deadline::Never).unwrap());
    group.kill_all();
    join(threads);
}

#[test]
fn a_pause_of_some_does_not_wait_for_others() {
    let group = group(2);
    let mut stuck = group.member(0).unwrap();
    stuck.start().unwrap();
    stuck.enter().unwrap();
    let asked = group.signal_all().unwrap();
    drop(group.pause_range(1..2, Deadline::Never).unwrap());
    let error = group.pause_range(0..1, Deadline::After(Duration::from_millis(5))).map(drop);
    let Err(PauseError::Stuck(report)) = error else { panic!("it is stuck") };
    assert_eq!(report.members.iter().map(|m| m.member).collect::<Vec<_>>(), [0]);
    assert_eq!(group.words().map(Word::holders).collect::<Vec<_>>(), [1, 1]);
    drop(asked);
}
