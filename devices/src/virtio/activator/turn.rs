//! Turns: when the activator may change what a guest can see.
//!
//! ```text
//!              take: nobody holds the workers            drop
//!   no turn ──────────────────────────────────▶ turn ───────────▶ no turn
//!      │  held: waits until nobody does           │ a pause that comes now waits for the drop
//!      └─ stopped: None, for good                 └ no device's code, no wait
//! ```
//!
//! A turn is a member of the workers' group that lives as long as the turn: it starts at its park while somebody holds the
//! group, and between two turns there is none, which is quiescent. So the pause that holds the workers
//! holds what the activator publishes, too, by the same word and the same proof; and a device's code, which is called between
//! two turns, keeps no pause waiting.
//!
//! Invariants:
//! - While the workers are held nothing that the activator does reaches a device's word or registers, a ticket, or the
//!   start or the end of a worker.
//! - Nothing is waited for in a turn, so no pause waits long for one.
//! - A stop ends the wait for a turn, held or not: it raises its flag, then kills the member. A kill that comes between two turns
//!   may be forgotten with that incarnation, but then the next turn sees the flag.

use std::sync::Arc;

use vcpu_state::{Group, Member, Parked};

use super::Shared;
use crate::sync::atomic::Ordering;

/// The activator is to end: there are no more turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// Where turns are taken, by one thread.
pub(super) struct Desk {
    workers: Arc<Group>,
    /// The member that a turn is.
    seat: usize,
    shared: Arc<Shared>,
}

/// A turn; its drop ends it.
pub(super) struct Turn<'d> {
    desk: &'d Desk,
    member: Option<Member>,
}

impl Desk {
    pub(super) fn new(workers: &Arc<Group>, seat: usize, shared: &Arc<Shared>) -> Self {
        Self { workers: Arc::clone(workers), seat, shared: Arc::clone(shared) }
    }

    /// Waits until nobody holds the workers.
    pub(super) fn take(&self) -> Result<Turn<'_>, Stopped> {
        // Acquire: pairs with the release in `close`; seen at the latest by whoever forgot the kill that came after it.
        if self.shared.stop.load(Ordering::Acquire) {
            return Err(Stopped);
        }
        // There is none only if the last one was killed.
        let mut member = self.workers.member(self.seat).ok_or(Stopped)?;
        // Killed: the drop of the member leaves it dead for good.
        if member.start() == Ok(Parked::Resumed) {
            Ok(Turn { desk: self, member: Some(member) })
        } else {
            Err(Stopped)
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Dead, which is quiescent, before there can be another.
        drop(self.member.take());
        // Nobody else reincarnates it, so it is dead.
        let _ = self.desk.workers.reincarnate(self.desk.seat);
    }
}
