//! ecam-activation (CH, read).
//!
//! Mechanism: a register write returns the barrier on which its vCPU must wait. One that goes through the
//! window in the PCI configuration space drops it; the activator, who waits on the barrier for two, hangs, and
//! a guest can make that happen.
//!
//! Invariant: every register path ends in the same activation, and the activator waits for nobody: one
//! vCPU may wait for the ticket, several, or none.

use std::sync::Arc;

use devices::bus::Written;
use devices::pci::{BarIndex, PciFunction};
use devices::virtio::VirtioPci;
use devices::virtio::lifecycle::State;
use devices::virtio::testing::{TestDevice, TestPlatform, Working};
use vcpu_state::{Outcome, WorkItem};

use crate::bed::{Bed, Script};
use crate::checker::{FutexWord, join, thread};
use crate::device::{Device, handled, negotiate};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("ecam-activation", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(1));

fn historic() {
    let at_barrier = Arc::new(Monitor::new(0));
    let arrive = |barrier: &Monitor<u32>| {
        barrier.change(|arrived| *arrived += 1);
        drop(barrier.wait_until(|arrived| *arrived == 2));
    };
    let vcpu = {
        let barrier = Arc::clone(&at_barrier);
        thread::spawn(move || {
            let write_status = move || Some(barrier);
            // Through the window: what the write returned is dropped.
            write_status().is_some()
        })
    };
    arrive(&at_barrier);
    join(vcpu);
}

/// Where the window is: behind three capabilities of 16 bytes and one of 20.
const WINDOW: u16 = 0x40 + 3 * 16 + 20;
/// The status register in the common configuration.
const STATUS: u64 = 0x14;

/// A device on PCI without queues, negotiated up to DRIVER_OK.
fn function(device: &Device) -> Arc<VirtioPci> {
    let (work, _) = WorkItem::new(&device.vcpus, &Arc::new(FutexWord::new(0)));
    let function = VirtioPci::new(
        Arc::new(TestDevice::new(0, 1, Working::Serves)),
        device.registers.memory().clone(),
        &device.activator,
        &TestPlatform::default(),
        &Arc::new(work),
    );
    match function {
        Ok(function) => {
            negotiate(function.registers());
            Arc::new(function)
        }
        Err(error) => panic!("no function: {error}"),
    }
}

/// Writes the status register through the PCI_CFG window.
fn through_window(function: &VirtioPci, status: u8) -> Written {
    let write = |offset, data: &[u8]| {
        function.config().write(offset, data);
        function.config_written(offset, data)
    };
    assert!(matches!(write(WINDOW + 8, &[0x14, 0, 0, 0]), Written::Done));
    assert!(matches!(write(WINDOW + 12, &[1, 0, 0, 0]), Written::Done));
    write(WINDOW + 16, &[status])
}

fn ours() {
    let bed = Bed::new(1);
    let device = Device::new(&bed.group, Working::Serves, 0, 0);
    let function = function(&device);
    let through_the_bar = {
        let function = Arc::clone(&function);
        move || handled(function.write_bar(BarIndex(0), STATUS, &[15]))
    };
    let through_the_window = {
        let function = Arc::clone(&function);
        move || {
            let word = function.registers().word();
            assert!(word.state() == State::Active, "the guest went on before the end");
            handled(through_window(&function, 0))
        }
    };
    let script = Script::halt().exit(through_the_bar).exit(through_the_window).end();
    let vcpu = bed.spawn(0, script);
    assert_eq!(join(vcpu).outcomes, [Outcome::Done; 2]);
    assert_eq!(function.registers().word().status(), 0);
    device.end();
}
