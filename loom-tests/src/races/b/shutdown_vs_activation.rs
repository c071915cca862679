//! shutdown-vs-activation (CH, read).
//!
//! Mechanism: a shutdown does not drain activations. The vCPU that waits for one never sees the kill, and the
//! join of its thread hangs.
//!
//! Invariant: kill dominates every wait. Here the activation outlives the vCPU, so only the kill can end it.

use std::sync::Arc;

use devices::virtio::testing::Working;

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("shutdown-vs-activation", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    killed: bool,
    activated: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let killed = vm.lock().killed;
            if !killed {
                // The guest writes DRIVER_OK.
                drop(vm.wait_until(|vm| vm.activated));
            }
        })
    };
    vm.change(|vm| vm.killed = true);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let device = Device::new(&bed.group, Working::Serves, 0, 0);
    let gate = device.gate();
    let vcpus = vec![bed.spawn(0, Script::halt().exit(device.status_handler(15)))];
    let reports = bed.end(vcpus);
    assert_eq!(reports[0].outcomes, []);
    gate.advance();
    device.end();
}
