//! activate-fail (CH #8295).
//!
//! Mechanism: an activation that fails returns early and never reaches the barrier on which the vCPU waits.
//!
//! Invariant: the vCPU is released on every path, a panic included, because the end of a ticket is the drop of
//! its completer.

use std::sync::Arc;

use vcpu_state::{Outcome, Ticket};

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("activate-fail", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

fn historic() {
    let activated = Arc::new(Monitor::new(false));
    let vcpu = {
        let activated = Arc::clone(&activated);
        thread::spawn(move || drop(activated.wait_until(|activated| *activated)))
    };
    let activate = |works: bool| -> Result<(), &'static str> {
        if !works {
            return Err("no memory for the queues");
        }
        activated.change(|activated| *activated = true);
        Ok(())
    };
    // The error goes to the log.
    assert!(activate(false).is_err());
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let (first, fails) = Ticket::new(&bed.group);
    let (second, panics) = Ticket::new(&bed.group);
    let vcpu = bed.spawn(0, Script::halt().wait(first).wait(second).end());
    let works = false;
    let activate = move || -> Result<(), &'static str> {
        if !works {
            return Err("no memory for the queues");
        }
        fails.complete(Outcome::Done);
        Ok(())
    };
    assert!(activate().is_err());
    // Unwinds as a panic does, without the message.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _panics = panics;
        std::panic::resume_unwind(Box::new("activation"));
    }));
    assert!(panicked.is_err());
    assert_eq!(join(vcpu).outcomes, [Outcome::Failed; 2]);
}
