//! A worker raises while vCPUs mask, unmask and change the message, and the attendant routes.
use std::sync::Arc;
use std::time::{Duration, Instant};

use vcpu_state::Outcome;

use super::device::{Bed, ENABLED};
use crate::bus::Written;
use crate::pci::msix::{Msix, MsixControl};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Long enough that only an interrupt that was lost takes longer.
const LOST: Duration = Duration::from_secs(30);
const RAISES: usize = 50_000;

/// Writes a register of the vector as a vCPU does: it goes on when the write is done.
fn write(msix: &Msix, register: u64, value: u32) {
    if let Written::Wait(ticket) = msix.write_table(4 * register, &value.to_le_bytes()) {
        while ticket.outcome().is_none() {
            std::thread::yield_now();
        }
    }
}

/// Changes the message under a mask and without one, until told to stop; unmasked at the end.
fn storm(msix: &Msix, stop: &AtomicBool) {
    for data in 1_u32.. {
        write(msix, 3, 1);
        write(msix, 2, data);
        write(msix, 3, 0);
        write(msix, 0, data << 12);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// With one interrupt at a time, each is delivered once: as many as were raised, and none without a route.
#[test]
fn no_interrupt_is_lost_or_doubled() {
    let mut bed = Bed::new(1);
    bed.set_control(ENABLED);
    bed.program(0, 1);
    let Bed { msix, platform, mut attendant, .. } = bed;
    let line = Arc::clone(&platform.lines()[0]);
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (msix, stop, done) = (&msix, &stop, &done);
        let vcpus = [scope.spawn(|| storm(msix, stop)), scope.spawn(|| storm(msix, stop))];
        let serving = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                if let Some(round) = attendant.begin() {
                    msix.reconcile(|| Some(MsixControl::of_register(ENABLED)));
                    round.complete(Outcome::Done);
                }
                std::thread::yield_now();
            }
        });
        let mut seen = Vec::new();
        for _ in 0..RAISES {
            msix.raise(0);
            let since = Instant::now();
            loop {
                let came = line.raised();
                seen.extend(came.iter().map(Option::is_some));
                if !came.is_empty() || since.elapsed() > LOST {
                    break;
                }
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        let ended = vcpus.map(std::thread::ScopedJoinHandle::join);
        done.store(true, Ordering::Relaxed);
        serving.join().unwrap();
        assert!(ended.iter().all(Result::is_ok));
        seen.extend(line.raised().iter().map(Option::is_some));
        assert!(seen.iter().all(|routed| *routed), "raised without a route");
        assert_eq!(seen.len(), RAISES);
    });
}
