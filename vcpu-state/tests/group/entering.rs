//! The stronger resume: it ends when every member that can run has entered the guest.

use std::sync::atomic::Ordering;
use std::time::Duration;

use vcpu_state::{Deadline, Released, Word};

use crate::counting::{await_progress, group, join, run, sum};

#[test]
fn all_have_entered_when_the_stronger_resume_returns() {
    let group = group(8);
    let (threads, counters) = run(&group);
    await_progress(&counters, &[0; 8]);
    for _ in 0..100 {
        let quiesced = group.pause(Deadline::Never).unwrap();
        let then = sum(&counters);
        let released = quiesced.release().wait_entered(Deadline::Never);
        assert_eq!(released, Ok(Released::Running));
        // This guest counts after it has entered: one that has not counted yet is in it.
        for (member, then) in then.iter().enumerate() {
            let moved = || counters[member].load(Ordering::Relaxed) > *then;
            let inside = group.word(member).unwrap().any(Word::IN_GUEST);
            assert!(inside || moved(), "member {member} has not been in the guest");
        }
    }
    group.kill_all();
    join(threads);
    group.wait_entered(Deadline::Never).unwrap();
}

#[test]
fn only_those_that_can_run_are_waited_for() {
    let group = group(5);
    let mut members: Vec<_> = (0..4).map(|index| group.member(index).unwrap()).collect();
    for member in &mut members {
        member.start().unwrap();
    }
    members[0].enter().unwrap();
    members[1].begin_ticket().unwrap();
    group.kill(2);
    let held = group.signal_range(3..4, Deadline::Never).unwrap();
    group.wait_entered(Deadline::Never).unwrap();
    drop(held);
    let stuck = group.wait_entered(Deadline::After(Duration::from_millis(5))).unwrap_err();
    assert_eq!(stuck.members.iter().map(|m| m.member).collect::<Vec<_>>(), [3]);
    assert!(stuck.to_string().contains("not reached the guest: member 3 (RUN"), "{stuck}");
}
