//! activate-fail (CH #8295).
//!
//! Mechanism: an activation that fails returns early and never reaches the barrier on which the vCPU waits.
//!
//! Invariant: the vCPU is released on every path, a panic included, because a round of the activator ends
//! on each, and so does its ticket. The device says what happened, and works again after a reset.

use std::sync::Arc;

use devices::virtio::lifecycle::Cause;
use devices::virtio::testing::{Activating, Working};
use vcpu_state::Outcome;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::device::{Device, handled, negotiate};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("activate-fail", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(2));

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
    let device = Device::new(&bed.group, Working::Serves, 0, 0);
    device.device.then(Activating::Fails);
    device.device.then(Activating::Panics);
    let again = {
        let registers = Arc::clone(&device.registers);
        move || {
            assert_eq!(registers.word().status(), 0);
            negotiate(&registers);
            handled(registers.write_status(15))
        }
    };
    let script = Script::halt()
        .exit(device.status_handler(15))
        .exit(device.status_handler(0))
        .exit(again)
        .end();
    let vcpu = bed.spawn(0, script);
    assert_eq!(join(vcpu).outcomes, [Outcome::Failed, Outcome::Done, Outcome::Failed]);
    assert_eq!(device.registers.word().cause(), Some(Cause::Panic));
    device.end();
}
