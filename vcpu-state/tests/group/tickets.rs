//! Tickets: a pause interrupts the wait for one, and one that nobody completes fails.

use vcpu_state::{Outcome, Step, Ticket, Waited};

use crate::counting::group;

#[test]
fn a_pause_interrupts_a_ticket_and_the_wait_goes_on_afterwards() {
    let group = group(1);
    let (ticket, completer) = Ticket::new(&group);
    let mut member = group.member(0).unwrap();
    member.start().unwrap();
    member.begin_ticket().unwrap();
    assert_eq!(member.next(), Step::Ticket);
    let pending = group.signal_all().unwrap();
    assert_eq!(member.wait_ticket(&ticket), Waited::Interrupted);
    drop(pending);
    assert_eq!(member.next(), Step::Ticket);
    completer.complete(Outcome::Done);
    assert_eq!(member.wait_ticket(&ticket), Waited::Done(Outcome::Done));
    assert_eq!(member.next(), Step::Enter);
}

#[test]
fn a_dropped_completer_fails_its_ticket() {
    let group = group(1);
    let (ticket, completer) = Ticket::new(&group);
    assert_eq!(ticket.outcome(), None);
    drop(completer);
    assert_eq!(ticket.outcome(), Some(Outcome::Failed));
}
