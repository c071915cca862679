//! serial-block (CH #1707 #3004).
//!
//! Mechanism: the guest writes to its serial port, the PTY or pipe behind it is full, and the vCPU thread
//! blocks in write(2). A pause waits for it until somebody reads the other end.
//!
//! Invariant: no blocking host I/O on a vCPU thread. A byte goes into the console's bounded ring or is counted as dropped; who
//! puts one in wakes the console's thread if that sleeps, and waits for nothing.

use std::sync::Arc;

use devices::console::testing::{Sleep, StuckHost};
use devices::serial::Serial;
use devices::{Bus, CounterSource, Interrupt, Pio};

use crate::bed::{Bed, Script};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;
use crate::vcpu::Handled;

/// The pair.
pub const MODEL: Model = Model::race("serial-block", historic, Finding::Deadlock, ours)
    .explored(Bound::Preemptions(3), Bound::Preemptions(3));

const CAPACITY: u32 = 1;

#[derive(Default)]
struct Vm {
    in_pipe: u32,
    paused: bool,
    acked: bool,
}

fn historic() {
    let vm = Arc::new(Monitor::new(Vm::default()));
    let vcpu = {
        let vm = Arc::clone(&vm);
        thread::spawn(move || {
            for _ in 0..2 {
                drop(vm.wait_until(|vm| vm.in_pipe < CAPACITY));
                vm.change(|vm| vm.in_pipe += 1);
            }
            drop(vm.wait_until(|vm| vm.paused));
            vm.change(|vm| vm.acked = true);
        })
    };
    vm.change(|vm| vm.paused = true);
    drop(vm.wait_until(|vm| vm.acked));
    join(vcpu);
}

fn ours() {
    let bed = Bed::new(1);
    let Ok(mut host) = StuckHost::new(1) else { panic!("no file descriptor is left") };
    let serial = Arc::new(Serial::new(Box::new(NoLine), Arc::clone(host.port()) as _));
    let bus = Arc::new(Bus::<Pio>::new());
    assert_eq!(bus.publish(Serial::COM1, Arc::clone(&serial) as _), Ok(()));
    let out = |bytes: &'static [u8]| {
        let bus = Arc::clone(&bus);
        move || {
            for byte in bytes {
                let at = Serial::COM1.first();
                bus.write(at, &[*byte], |_| panic!("output is waited for"));
            }
            Handled::Done
        }
    };
    let vcpu = bed.spawn(0, Script::halt().exit(out(b"ab")).exit(out(b"c")).end());
    // The host takes something at some time, and then never again.
    let mut got = host.take();
    let sleep = host.fall_asleep();
    drop(bed.pause());
    join(vcpu);
    let left = host.take();
    let rung = host.was_rung();
    assert!(
        rung || left.is_empty() || sleep == Sleep::Awake,
        "the console's thread sleeps on output"
    );
    got.extend(left);
    let in_order = got.windows(2).all(|pair| pair[0] < pair[1]);
    let dropped = counted(&**host.port(), "output_dropped");
    assert!(in_order && got.len() as u64 + dropped == 3, "a byte is lost: {got:?}, {dropped}");
    assert_eq!(counted(&*serial, "bytes_sent"), 3);
}

struct NoLine;

impl Interrupt for NoLine {
    fn raise(&self) {}
}

fn counted(source: &dyn CounterSource, name: &str) -> u64 {
    source.counters().into_iter().find_map(|(it, value)| (it == name).then_some(value)).unwrap_or(0)
}
