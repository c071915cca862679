//! What a memory device counts.

use super::request::{Asked, Response};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Counts of one device, over all of its activations. They are statistics: nothing is ordered by them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    plugs: AtomicU64,
    unplugs: AtomicU64,
    unplug_alls: AtomicU64,
    states: AtomicU64,
    /// Requests for more than is asked for.
    nacks: AtomicU64,
    /// Requests that the host could not carry out now.
    busy: AtomicU64,
    /// Requests that make no sense.
    errors: AtomicU64,
    /// Times that the host refused something.
    pub(super) host_errors: AtomicU64,
    /// Rings and requests that broke the rules.
    pub(super) malformed: AtomicU64,
}

impl Counters {
    /// A request was answered.
    pub(super) fn answered(&self, asked: Asked, response: Response) {
        one(match (response, asked) {
            (Response::Nack, _) => &self.nacks,
            (Response::Busy, _) => &self.busy,
            (Response::Error, _) => &self.errors,
            (_, Asked::Plug) => &self.plugs,
            (_, Asked::Unplug) => &self.unplugs,
            (_, Asked::UnplugAll) => &self.unplug_alls,
            (_, Asked::State) => &self.states,
        });
    }

    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: see the type.
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("plugs", get(&self.plugs)),
            ("unplugs", get(&self.unplugs)),
            ("unplug_alls", get(&self.unplug_alls)),
            ("states", get(&self.states)),
            ("nacks", get(&self.nacks)),
            ("busy", get(&self.busy)),
            ("errors", get(&self.errors)),
            ("host_errors", get(&self.host_errors)),
            ("malformed", get(&self.malformed)),
        ]
    }
}

/// One more.
pub(super) fn one(counter: &AtomicU64) {
    // Relaxed: see `Counters`.
    counter.fetch_add(1, Ordering::Relaxed);
}
