//! pause-vs-drop (CH #6293).
//!
//! Mechanism: a device is dropped while the VM is paused. It tells its worker to stop and joins it; the worker is
//! parked and does not look.
//!
//! Invariant: stop implies unpark: a worker is a member like any other, and kill ends its park. Here production's watchdog is
//! dropped while a pause comes or holds, and its guest reloads it.

use std::sync::Arc;

use devices::event::Event;
use devices::pci::{BarIndex, PciFunction};
use devices::watchdog::{Past, Watchdog, WatchdogSink};
use vcpu_state::{Deadline, Group, Kick};

use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("pause-vs-drop", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

#[derive(Default)]
struct Vm {
    paused: bool,
    stop: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let worker = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            let paused = vm.wait_until(|vm| vm.paused || vm.stop).paused;
            if paused {
                drop(vm.wait_until(|vm| !vm.paused));
            }
        })
    };
    vm.change(|vm| vm.paused = true);
    vm.change(|vm| vm.stop = true);
    join(worker);
}

/// Kicks by the event that the worker's poll listens to.
struct Kicked(Arc<Event>);

impl Kick for Kicked {
    fn kick(&self, _: usize) {
        self.0.notify();
    }
}

/// No time passes in a model.
struct Nobody;

impl WatchdogSink for Nobody {
    fn expired(&self) {
        panic!("it expires without time");
    }
}

fn ours() {
    let (Ok(watchdog), Ok(kick)) = (Watchdog::new(Past::Other, Arc::new(Nobody)), Event::new())
    else {
        panic!("no descriptor")
    };
    let kick = Arc::new(kick);
    let group = Group::new(1, Box::new(Kicked(Arc::clone(&kick))));
    let Some(member) = group.member(0) else { panic!("no slot") };
    let clock = watchdog.clock();
    let worker = thread::spawn(move || clock(member, kick));
    let pauser = {
        let group = Arc::clone(&group);
        thread::spawn(move || match group.pause(Deadline::Never) {
            Ok(quiesced) => quiesced,
            Err(error) => panic!("a pause without a deadline failed: {error}"),
        })
    };
    // The guest enables it, which rings the worker's bell.
    drop(watchdog.config_written(0x68, &[2]));
    group.kill(0);
    join(worker);
    drop(join(pauser));
    let mut data = [0; 4];
    watchdog.read_bar(BarIndex(0), 0xC, &mut data);
    assert_eq!(data, [0; 4]);
}
