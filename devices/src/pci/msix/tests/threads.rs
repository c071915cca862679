//! Workers raise while vCPUs mask, unmask and change the message, and the attendant routes.
use std::sync::Arc;

use vcpu_state::Outcome;

use super::device::{Bed, ENABLED};
use crate::pci::msix::{Msix, MsixControl};
use crate::sync::atomic::{AtomicBool, Ordering};

const RAISES: u64 = 30_000;

/// Toggles the mask bit, and the message under it, until told to stop; unmasked at the end.
fn storm(msix: &Msix, stop: &AtomicBool) {
    let write = |register: u64, value: u32| {
        let _ = msix.write_table(4 * register, &value.to_le_bytes());
    };
    for data in 1_u32.. {
        write(3, 1);
        write(2, data);
        write(3, 0);
        // While it is open, too.
        write(0, data << 12);
        if stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn no_interrupt_is_lost_or_doubled() {
    let mut bed = Bed::new(1);
    bed.set_control(ENABLED);
    let Bed { msix, platform, mut attendant, .. } = bed;
    let line = Arc::clone(&platform.lines()[0]);
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let control = || Some(MsixControl::of_register(ENABLED));
    std::thread::scope(|scope| {
        let (msix, stop, done) = (&msix, &stop, &done);
        let vcpus = [scope.spawn(|| storm(msix, stop)), scope.spawn(|| storm(msix, stop))];
        let serve = scope.spawn(move || {
            loop {
                let last = done.load(Ordering::Acquire);
                if let Some(round) = attendant.begin() {
                    msix.reconcile(control);
                    round.complete(Outcome::Done);
                } else if last {
                    return;
                }
                std::thread::yield_now();
            }
        });
        let mut delivered = 0;
        for raise in 1..=RAISES {
            msix.raise(0);
            let came = line.raised();
            assert!(came.iter().all(Option::is_some), "raised without a route");
            delivered += came.len() as u64;
            assert!(delivered <= raise, "an interrupt was doubled");
        }
        stop.store(true, Ordering::Relaxed);
        vcpus.into_iter().for_each(|vcpu| vcpu.join().unwrap());
        // Whatever happened before: this one comes, once the vCPUs' last writes have been served.
        done.store(true, Ordering::Release);
        serve.join().unwrap();
        line.raised();
        let mut pending = [0; 4];
        msix.read_pending(0, &mut pending);
        assert_eq!(pending, [0; 4], "what was pending has been delivered");
        msix.raise(0);
        assert_eq!(line.raised().len(), 1);
    });
}
