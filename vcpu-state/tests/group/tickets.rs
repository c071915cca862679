//! Tickets: a pause interrupts the wait for one, and one that nobody completes fails.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vcpu_state::{Deadline, NotDone, Outcome, Step, Ticket, Waited};

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

#[test]
fn a_thread_that_is_no_member_waits_for_a_ticket_until_it_is_done_or_the_deadline() {
    let group = group(0);
    let (ticket, completer) = Ticket::new(&group);
    let limit = Deadline::After(Duration::from_millis(1));
    assert_eq!(group.wait_ticket(&ticket, limit), Err(NotDone));
    let waiter = {
        let (group, ticket) = (Arc::clone(&group), ticket.clone());
        thread::spawn(move || group.wait_ticket(&ticket, Deadline::Never))
    };
    completer.complete(Outcome::Failed);
    assert_eq!(waiter.join().unwrap(), Ok(Outcome::Failed));
    assert_eq!(group.wait_ticket(&ticket, limit), Ok(Outcome::Failed));
}
