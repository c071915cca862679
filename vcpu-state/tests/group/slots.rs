//! Slots: one owner for each incarnation, one-shots, and what the group does not have.

use vcpu_state::{Illegal, OneShot, Parked, Step, Word};

use crate::counting::group;

#[test]
fn a_slot_is_used_again_only_after_death_and_with_a_new_incarnation() {
    let group = group(1);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    assert!(group.reincarnate(0).is_err());
    group.kill(0);
    assert!(group.reincarnate(0).is_err());
    drop(member);
    group.reincarnate(0).unwrap();
    assert_eq!(group.word(0).unwrap().incarnation(), 1);
    let mut next = group.member(0).unwrap();
    assert_eq!(next.start(), Ok(Parked::Resumed));
}

#[test]
fn a_slot_has_one_owner_for_each_incarnation() {
    let group = group(1);
    assert!(group.member(1).is_none());
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    assert!(group.member(0).is_none());
    assert!(group.word(0).unwrap().any(Word::RUN));
    drop(member);
    assert!(group.member(0).is_none());
    group.reincarnate(0).unwrap();
    assert!(group.member(0).is_some());
}

#[test]
fn an_nmi_is_consumed_once() {
    let group = group(1);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    group.ask(0, OneShot::Nmi).unwrap();
    group.ask(0, OneShot::Nmi).unwrap();
    assert_eq!(member.next(), Step::OneShot(OneShot::Nmi));
    assert!(member.take(OneShot::Nmi));
    assert!(!member.take(OneShot::Nmi));
    assert_eq!(member.next(), Step::Enter);
    drop(member);
    assert!(group.ask(0, OneShot::Nmi).is_err());
}

#[test]
fn a_member_that_the_group_does_not_have_is_as_good_as_dead() {
    let group = group(2);
    for member in [2, 3, usize::MAX] {
        assert_eq!(group.ask(member, OneShot::Nmi), Err(Illegal::Dead));
        assert_eq!(group.reincarnate(member), Err(Illegal::Dead));
        group.kill(member);
        assert_eq!(group.word(member), None);
        assert!(group.member(member).is_none());
    }
}

#[test]
fn a_group_shows_its_words() {
    let group = group(2);
    group.kill(1);
    assert_eq!(format!("{group:?}"), "[Word(NEW epoch=0), Word(KILLED epoch=0)]");
    assert!(!group.is_empty() && crate::counting::group(0).is_empty());
}
