//! What `arc_swap::ArcSwap` is under a model checker: a number that the checker sees, and the snapshot of each number.
//!
//! ```text
//!   load ──▶ newest (the checker's atomic) ──▶ n ──▶ snapshots[n] ──▶ Arc
//!                 ▲
//!   store: keep the snapshot, then compare-and-swap its number
//! ```
//!
//! A load acquires, so that it may see an older snapshot than the newest, as far as the memory model lets it:
//! `arc_swap` promises no more. Hence the checker sees who reads which snapshot, what was done before a snapshot was
//! published, and each compare-and-swap that another thread was faster with.
//!
//! What it does not see: how `arc_swap` counts references and when a snapshot is freed. Here all of them live as long
//! as what they were published in, so that a drop that a swap would cause comes at the end of a model.

use std::ops::Deref;
use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering};

/// A published snapshot (model).
pub(crate) struct ArcSwap<T> {
    newest: AtomicU64,
    /// By number. Out of the checker's sight, and never changed but by appending.
    snapshots: arc_swap::ArcSwap<Vec<Arc<T>>>,
}

/// A loaded snapshot (model).
pub(crate) struct Guard<P>(P);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(first: T) -> Self {
        let snapshots = arc_swap::ArcSwap::from_pointee(vec![Arc::new(first)]);
        Self { newest: AtomicU64::new(0), snapshots }
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        Guard(self.load_full())
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        // An acquiring load: pairs with the release half of `compare_and_swap`.
        self.snapshot(crate::sync::read(&self.newest))
    }

    /// What was published before; `current` if that was replaced by `new`.
    #[expect(clippy::needless_pass_by_value, reason = "the shape is that of arc-swap")]
    pub(crate) fn compare_and_swap(&self, current: &Arc<T>, new: Arc<T>) -> Guard<Arc<T>> {
        let current = self.snapshots.load().iter().position(|kept| Arc::ptr_eq(kept, current));
        let current = current.map_or(NONE, |number| number as u64);
        let next = self.keep(&new);
        // AcqRel: releases what was done before to whoever loads `new`, and acquires what led to `current`.
        let swap = self.newest.compare_exchange(current, next, Ordering::AcqRel, Ordering::Acquire);
        let (Ok(before) | Err(before)) = swap;
        Guard(self.snapshot(before))
    }

    /// The number under which a snapshot is found from now on. No thread of a model runs between two of these steps: the
    /// checker does not switch where it sees nothing.
    fn keep(&self, new: &Arc<T>) -> u64 {
        let kept = self.snapshots.rcu(|kept| {
            let mut kept = kept.to_vec();
            kept.push(Arc::clone(new));
            kept
        });
        kept.len() as u64
    }

    fn snapshot(&self, number: u64) -> Arc<T> {
        Arc::clone(&self.snapshots.load()[usize::try_from(number).unwrap_or(usize::MAX)])
    }
}

/// No snapshot has this number.
const NONE: u64 = u64::MAX - 1;

impl<P> Guard<P> {
    pub(crate) fn into_inner(self) -> P {
        self.0
    }
}

impl<P> Deref for Guard<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.0
    }
}
