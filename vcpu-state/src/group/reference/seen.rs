//! What random programs came past: a comparison of nothing would always agree.

use std::collections::BTreeSet;

/// What programs came past.
#[derive(Default)]
pub(super) struct Seen(BTreeSet<&'static str>);

impl Seen {
    const ALL: [&str; 16] = [
        "born under a pause",
        "parked",
        "parked and killed",
        "resumed",
        "stale ack",
        "ticket done",
        "ticket interrupted",
        "asleep on a ticket",
        "died in the guest",
        "reincarnated under a pause",
        "nested pausers",
        "stuck",
        "still",
        "too many holders",
        "woken late",
        "not woken, asked again",
    ];

    pub(super) fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    pub(super) fn assert_all(&self) {
        let missing: Vec<_> = Self::ALL.iter().filter(|what| !self.0.contains(*what)).collect();
        assert!(missing.is_empty(), "no program came past {missing:?}");
    }

    pub(super) fn note(&mut self, what: &'static str, is_so: bool) {
        assert!(Self::ALL.contains(&what), "{what} is not in the list");
        if is_so {
            self.0.insert(what);
        }
    }
}
