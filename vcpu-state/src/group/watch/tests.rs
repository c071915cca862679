//! What watchers are told, and whom a resume waits for: on one thread, which sees each step.

use std::cell::Cell;

use super::*;
use crate::event::{Event, OneShot, transition};
use crate::group::NoKick;
use crate::sync::Arc;
use crate::{Illegal, Parked};

fn group(members: usize) -> Arc<Group> {
    Group::new(members, Box::new(NoKick))
}

/// Generations of the news, and changes counted in the slot.
fn told(group: &Group, member: usize) -> (u32, u32) {
    (group.news.load(), group.told(member))
}

/// Every coherent word, as far as flags and up to two holders go.
fn words() -> impl Iterator<Item = Word> {
    let words = (0..=Word::FLAGS)
        .flat_map(|flags| (0..3).map(move |holders| Word::from_bits(flags | holders << 16)));
    words.filter(|word| word.is_coherent())
}

#[test]
fn news_is_the_end_of_an_owed_ack_of_a_way_to_the_guest_and_of_all_holds() {
    for old in words() {
        let events = [
            (Event::Enter, true),
            (Event::AckPause { epoch: 0 }, true),
            (Event::ReleasePause, old.holders() == 1),
            (Event::RequestPause, old.is_on_its_way()),
            (Event::Kill, old.is_on_its_way()),
            (Event::BeginActivation, old.is_on_its_way()),
            (Event::Die, old.is_on_its_way() || old.owes_ack()),
            (Event::Start, false),
            (Event::Leave, false),
            (Event::Unpark, false),
            (Event::EndActivation, false),
            (Event::Reincarnate, false),
            (Event::Ask(OneShot::Nmi), false),
            (Event::Take(OneShot::Nmi), false),
        ];
        for (event, must) in events {
            if let Ok(new) = transition(old, event) {
                assert_eq!(Change { old, new }.is_news(), must, "{old} --{event:?}--> {new}");
            }
        }
    }
}

#[test]
fn news_is_told_while_somebody_watches_and_only_then() {
    let group = group(2);
    let mut member = group.member(0).unwrap();
    assert_eq!(member.start(), Ok(Parked::Resumed));
    let mut enter_and_leave = || {
        let before = told(&group, 0);
        assert_eq!(member.enter(), Ok(()));
        let entered = told(&group, 0);
        member.leave();
        assert_eq!(told(&group, 0), entered, "to have left is no news");
        assert_eq!(told(&group, 1).1, 0, "it is told in its own slot");
        (entered.0 - before.0, entered.1 - before.1)
    };
    assert_eq!(enter_and_leave(), (0, 0));
    let watch = Watch::new(&group);
    assert_eq!(enter_and_leave(), (1, 1));
    drop(watch);
    assert_eq!(enter_and_leave(), (0, 0));
}

#[test]
fn when_the_time_has_run_out_the_words_are_looked_at_once_more() {
    let group = group(1);
    let watch = Watch::new(&group);
    let after = |looks: u32, left: Result<Option<Duration>, ()>| {
        let looked = Cell::new(0);
        let so = || {
            looked.set(looked.get() + 1);
            looked.get() >= looks
        };
        (watch.until(|| left, so), looked.get())
    };
    assert_eq!(after(1, Ok(None)), (true, 1));
    assert_eq!(after(1, Err(())), (true, 1));
    assert_eq!(after(2, Err(())), (true, 2));
    assert_eq!(after(3, Err(())), (false, 2));
}

#[test]
fn a_touched_word_is_read_and_not_changed() {
    let group = group(1);
    assert_eq!(group.touch(0), Word::NEW);
    let mut member = group.member(0).unwrap();
    assert_eq!(member.start(), Ok(Parked::Resumed));
    assert_eq!(member.enter(), Ok(()));
    let word = Word::from_bits(Word::RUN | Word::IN_GUEST);
    assert_eq!((group.touch(0), group.load(0)), (word, word));
}

#[test]
fn who_entered_and_left_again_has_arrived() {
    let group = group(2);
    let mut members = [0, 1].map(|slot| group.member(slot).unwrap());
    for member in &mut members {
        assert_eq!(member.start(), Ok(Parked::Resumed));
    }
    let _watch = Watch::new(&group);
    let ways = group.on_their_way();
    let still = || ways.iter().map(|way| group.is_still(*way)).collect::<Vec<_>>();
    assert_eq!(still(), [true, true]);
    assert_eq!(members[0].enter(), Ok(()));
    assert_eq!(still(), [false, true]);
    members[0].leave();
    assert!(group.load(0).is_on_its_way());
    assert_eq!(still(), [false, true]);
    group.kill(1);
    assert_eq!(still(), [false, false]);
}

#[test]
fn those_on_their_way_are_waited_for_and_named_at_the_deadline() {
    let group = group(3);
    let mut members: Vec<_> = (0..2).map(|slot| group.member(slot).unwrap()).collect();
    // Nobody has started.
    assert_eq!(group.wait_entered(Deadline::After(Duration::ZERO)), Ok(()));
    for member in &mut members {
        assert_eq!(member.start(), Ok(Parked::Resumed));
    }
    let late = |group: &Group| {
        let stuck = group.wait_entered(Deadline::After(Duration::ZERO)).err();
        stuck.map_or(Vec::new(), |stuck| stuck.members.iter().map(|it| it.member).collect())
    };
    assert_eq!(late(&group), [0, 1]);
    assert_eq!(members[0].enter(), Ok(()));
    assert_eq!(late(&group), [1]);
    assert_eq!(members[1].enter(), Ok(()));
    assert_eq!(group.wait_entered(Deadline::Never), Ok(()));
    members[0].leave();
    assert_eq!(late(&group), [0]);
    group.kill(0);
    assert_eq!(members[0].enter(), Err(Illegal::Killed));
    assert_eq!(group.wait_entered(Deadline::Never), Ok(()));
}
