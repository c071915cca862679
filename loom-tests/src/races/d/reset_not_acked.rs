//! reset-not-acked (read).
//!
//! Mechanism: a driver writes 0 to the status register, which reads 0 at once. The worker has been told to stop, and
//! still writes to memory that the guest has taken back.
//!
//! Invariant: the status reads 0 only when the workers have let go of guest memory.

use std::sync::Arc;

use devices::virtio::testing::Working;
use vcpu_state::Outcome;

use crate::checker::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::checker::{join, thread};
use crate::device::Device;
use crate::model::{Bound, Finding, Model};

/// The pair.
pub const MODEL: Model = Model::race("reset-not-acked", historic, FINDING, ours)
    .explored(Bound::Preemptions(1), Bound::Preemptions(1));

const FINDING: Finding = Finding::Violation("the status reads 0 while a worker has guest memory");

fn historic() {
    let status = Arc::new(AtomicU32::new(15));
    let has_memory = Arc::new(AtomicBool::new(true));
    let worker = {
        let (status, has_memory) = (Arc::clone(&status), Arc::clone(&has_memory));
        thread::spawn(move || {
            if status.load(Ordering::Acquire) == 0 {
                has_memory.store(false, Ordering::Release);
            }
        })
    };
    status.store(0, Ordering::Release);
    let read = status.load(Ordering::Acquire);
    let lets_go = !has_memory.load(Ordering::Acquire);
    assert!(read != 0 || lets_go, "the status reads 0 while a worker has guest memory");
    join(worker);
}

fn ours() {
    let mut device = Device::active(Working::Holds, 1, 1);
    device.send(0);
    let observer = {
        let (registers, seen) = (Arc::clone(&device.registers), Arc::clone(&device.device.seen));
        thread::spawn(move || {
            let read = registers.word().status();
            let workers = seen.workers.load(std::sync::atomic::Ordering::SeqCst);
            assert!(
                read != 0 || workers == 0,
                "the status reads 0 while a worker has guest memory"
            );
        })
    };
    assert_eq!(device.write_status(0), Outcome::Done);
    assert_eq!(device.registers.word().status(), 0);
    assert_eq!(device.workers(), 0);
    join(observer);
    device.end();
}
