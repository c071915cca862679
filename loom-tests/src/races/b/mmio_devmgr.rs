//! mmio-devmgr (CH #8028).
//!
//! Mechanism: the PCI hotplug registers *are* the device manager: a vCPU that ejects a device waits for the
//! manager's lock, which the thread holds that pauses the devices, and waits for that vCPU.
//!
//! Invariant: hotplug registers and event device are register blocks on the bus. An eject is one compare-and-swap of the slot's
//! state and a new table; the attendant takes the function apart when it has time, exactly once, and the manager holds
//! what it likes meanwhile.

use std::sync::Arc;

use devices::pci::SlotState;

use crate::bed::{Bed, Script};
use crate::checker::{Mutex, join, lock, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::pci::{Root, bit, function};
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("mmio-devmgr", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    paused: bool,
    acked: bool,
}

fn historic() {
    let devices = Arc::new(Mutex::new(1));
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let (devices, vm) = (Arc::clone(&devices), Arc::clone(&vm));
        thread::spawn(move || {
            // A write to the eject register.
            *lock(&devices) -= 1;
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
        })
    };
    let devices = lock(&devices);
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    drop(devices);
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let (root, mut attendant) = Root::new(&bed.group);
    let slot = root.insert(&function(1));
    let (looks, ejects) = (Arc::clone(&root), Arc::clone(&root));
    let look = move || {
        let asked = if looks.read_event() { looks.read_down() } else { 0 };
        assert!(asked == 0 || asked == bit(slot), "asked for {asked:#x}");
        Handled::Done
    };
    let eject = move || {
        ejects.eject(bit(slot));
        assert!(!ejects.is_present(slot), "the guest finds what it has ejected");
        Handled::Done
    };
    let vcpu = bed.spawn(0, Script::halt().exit(look).exit(eject).end());
    let devices = Mutex::new(1);
    let mut managed = lock(&devices);
    if let Err(refused) = root.ask_removal(slot) {
        assert!(refused.state == SlotState::Ejected, "{refused:?}");
    }
    drop(bed.pause());
    // The attendant has its turn only now, and the manager is told by it.
    while attendant.round() {}
    *managed -= root.gone();
    drop(managed);
    join(vcpu);
    while attendant.round() {}
    assert_eq!(root.gone(), 1);
    assert_eq!(root.segment.state(slot), SlotState::Empty);
}
