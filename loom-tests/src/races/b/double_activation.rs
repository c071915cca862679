//! double-activation (CH #7866 #7900 #7906).
//!
//! Mechanism: two vCPUs write DRIVER_OK. Both find the device inactive, and it is activated twice.
//!
//! Invariant: exactly one compare-and-swap wins the right to ask for the activation. Who loses waits for the
//! same work.

use std::sync::Arc;

use devices::virtio::lifecycle::State;
use devices::virtio::testing::Working;
use vcpu_state::Outcome;

use crate::bed::{Bed, Script};
use crate::checker::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};

/// The pair.
pub const MODEL: Model = Model::race("double-activation", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(1));

const FINDING: Finding = Finding::Violation("the device was activated twice");

fn historic() {
    let active = Arc::new(AtomicBool::new(false));
    let activations = Arc::new(AtomicU32::new(0));
    let vcpus = [0, 1].map(|_| {
        let (active, activations) = (Arc::clone(&active), Arc::clone(&activations));
        thread::spawn(move || {
            if !active.load(Ordering::Acquire) {
                activations.fetch_add(1, Ordering::AcqRel);
                active.store(true, Ordering::Release);
            }
        })
    });
    vcpus.into_iter().for_each(join);
    let activations = activations.load(Ordering::Acquire);
    assert!(activations == 1, "the device was activated twice");
}

fn ours() {
    let bed = Bed::new(2);
    let device = Device::new(&bed.group, Working::Serves, 0, 0);
    let vcpus =
        [0, 1].map(|index| bed.spawn(index, Script::halt().exit(device.status_handler(15)).end()));
    for vcpu in vcpus {
        // Who comes after the activation need not wait.
        let outcomes = join(vcpu).outcomes;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Done));
        assert_eq!(device.registers.word().state(), State::Active);
    }
    assert_eq!(device.device.seen.activations.load(std::sync::atomic::Ordering::SeqCst), 1);
    device.end();
}
