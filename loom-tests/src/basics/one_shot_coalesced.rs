//! A controller asks for an NMI twice, each time after it wrote down why.
//!
//! Invariant: asking twice before the first is taken may be asking once, but never none: whoever takes the last
//! one sees what was written before the last request. (A request that is found set and left alone, without a
//! read-modify-write, is not ordered after what it announces.)

use std::sync::Arc;

use vcpu_state::{OneShot, Parked, Word};

use crate::bed::Bed;
use crate::checker::atomic::{AtomicU32, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Model};

/// The model.
pub const MODEL: Model =
    Model::basic("one-shot-coalesced", run).explored(Bound::Exhaustive, Bound::Exhaustive);

fn run() {
    let bed = Bed::new(1);
    let reason = Arc::new(AtomicU32::new(0));
    let Some(mut member) = bed.group.member(0) else { panic!("no slot") };
    assert_eq!(member.start(), Ok(Parked::Resumed));
    let owner = {
        let reason = Arc::clone(&reason);
        thread::spawn(move || {
            let mut seen = 0;
            for _ in 0..2 {
                if member.take(OneShot::Nmi) {
                    // Relaxed: it is the word that orders it.
                    seen = reason.load(Ordering::Relaxed);
                }
            }
            (seen, member)
        })
    };
    for request in 1..=2 {
        reason.store(request, Ordering::Relaxed);
        assert_eq!(bed.group.ask(0, OneShot::Nmi), Ok(()));
    }
    let (seen, member) = join(owner);
    assert!(member.word().any(Word::NMI) || seen == 2, "an NMI is lost: the last saw {seen}");
}
