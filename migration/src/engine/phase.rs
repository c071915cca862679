//! Where each end of a migration is: two pure functions that everything goes through.
//!
//! ```text
//!   source:       Connecting ──Accepted──▶ Copying ──Stop──▶ Stopped ──Sent──▶ Handing ──Ready──▶ Committing ──Acknowledged──▶ Completed
//!                                            ▲  NotYet         │                                    │  │
//!                                            └─────────────────┘                                    │  └──Lost──▶ InDoubt
//!                 each of them ──Lost, Refused or Cancelled──▶ Restored ◀────────────Refused────────┘
//!
//!   destination:  Greeting ──Described──▶ Receiving ──Prepare──▶ Ready ──Commit──▶ Started
//!                 each before Started ──Lost──▶ Discarded
//! ```
//!
//! Where memory goes after the VM (post-copy), `Entrusted` takes the place of `Acknowledged` and `Commit`:
//!
//! ```text
//!   source:       Committing ──Entrusted──▶ Serving ──Arrived──▶ Completed          Serving ──Lost or Refused──▶ Stranded
//!   destination:  Ready ──Entrusted──▶ Filling ──Arrived──▶ Started                 Filling ──Lost──▶ Interrupted
//! ```
//!
//! The source's VM is its own in every phase but `Serving`, `Stranded` and `Completed`, the destination's in `Started` and `Filling` only. In `Committing` and in
//! `InDoubt` the source's VM stands still, because only the destination may know whose it is; that lasts from the first
//! byte of `Commit` to the answer. `tests` explore both machines together with everything that may get lost between them.

/// Where the source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SourcePhase {
    /// The destination builds its VM.
    Connecting,
    /// Memory is copied; the VM is as it was.
    Copying,
    /// The VM stands still for its last pages and its state.
    Stopped,
    /// The destination makes ready.
    Handing,
    /// The commit is on its way.
    Committing,
    /// The VM is the destination's.
    Completed,
    /// The VM is the source's, as it was.
    Restored,
    /// Nobody here can know whose the VM is; it stands still here, intact.
    InDoubt,
    /// The VM is the destination's, which is still sent memory.
    Serving,
    /// The VM was the destination's, which may not have got all memory; it stands still here, and must not go on.
    Stranded,
}

/// What happens to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceEvent {
    /// The destination has built its VM.
    Accepted,
    /// The VM was paused.
    Stop,
    /// There is more left than was expected; the VM goes on.
    NotYet,
    /// All pages and the state were sent.
    Sent,
    /// The destination is ready.
    Ready,
    /// The destination has the VM.
    Acknowledged,
    /// The destination says that it has not, and will not have, the VM.
    Refused,
    /// The link, the destination or something here failed.
    Lost,
    /// The operator does not want it any more.
    Cancelled,
    /// The destination has the VM, and needs memory that is still here.
    Entrusted,
    /// The destination needs nothing more.
    Arrived,
}

/// Where the destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DestinationPhase {
    /// It learns what VM there is to be.
    Greeting,
    /// It takes pages and state.
    Receiving,
    /// Nothing is missing but the commit.
    Ready,
    /// The VM is here.
    Started,
    /// The VM is not here, and will not be.
    Discarded,
    /// The VM is here, and lacks memory that is still to come.
    Filling,
    /// The VM was here, and lacked memory that did not come: it has ended.
    Interrupted,
}

/// What happens to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DestinationEvent {
    /// The VM was described and built.
    Described,
    /// All of it is here, and in its place.
    Prepared,
    /// The source has given it away, and it was started.
    Committed,
    /// The link, the source or something here failed, or the source gave up.
    Lost,
    /// The source has given it away, and it was started without all of its memory.
    Entrusted,
    /// All memory is here, or the VM has ended and needs no more.
    Arrived,
}

/// An event that cannot come in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot come in phase {phase:?}")]
pub struct Illegal<P: std::fmt::Debug, E: std::fmt::Debug> {
    /// Where it was.
    pub phase: P,
    /// What came.
    pub event: E,
}

impl SourcePhase {
    /// All phases.
    pub const ALL: [Self; 10] = [
        Self::Connecting,
        Self::Copying,
        Self::Stopped,
        Self::Handing,
        Self::Committing,
        Self::Completed,
        Self::Restored,
        Self::InDoubt,
        Self::Serving,
        Self::Stranded,
    ];

    /// The phase after an event.
    ///
    /// # Errors
    /// It cannot come.
    pub const fn after(self, event: SourceEvent) -> Result<Self, Illegal<Self, SourceEvent>> {
        use SourceEvent as E;
        Ok(match (self, event) {
            (Self::Connecting, E::Accepted) | (Self::Stopped, E::NotYet) => Self::Copying,
            (Self::Copying, E::Stop) => Self::Stopped,
            (Self::Stopped, E::Sent) => Self::Handing,
            (Self::Handing, E::Ready) => Self::Committing,
            (Self::Committing, E::Acknowledged) | (Self::Serving, E::Arrived) => Self::Completed,
            (Self::Committing, E::Entrusted) => Self::Serving,
            (Self::Serving, E::Lost | E::Refused) => Self::Stranded,
            (Self::Committing, E::Lost) => Self::InDoubt,
            (Self::Committing, E::Refused)
            | (
                Self::Connecting | Self::Copying | Self::Stopped | Self::Handing,
                E::Lost | E::Refused | E::Cancelled,
            ) => Self::Restored,
            (phase, event) => return Err(Illegal { phase, event }),
        })
    }

    /// Whether the VM may run here.
    #[must_use]
    pub const fn may_run(self) -> bool {
        matches!(self, Self::Connecting | Self::Copying | Self::Restored)
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Restored | Self::InDoubt | Self::Stranded)
    }
}

impl DestinationPhase {
    /// All phases.
    pub const ALL: [Self; 7] = [
        Self::Greeting,
        Self::Receiving,
        Self::Ready,
        Self::Started,
        Self::Discarded,
        Self::Filling,
        Self::Interrupted,
    ];

    /// The phase after an event.
    ///
    /// # Errors
    /// It cannot come.
    pub const fn after(
        self,
        event: DestinationEvent,
    ) -> Result<Self, Illegal<Self, DestinationEvent>> {
        use DestinationEvent as E;
        Ok(match (self, event) {
            (Self::Greeting, E::Described) => Self::Receiving,
            (Self::Receiving, E::Prepared) => Self::Ready,
            (Self::Ready, E::Committed) | (Self::Filling, E::Arrived) => Self::Started,
            (Self::Ready, E::Entrusted) => Self::Filling,
            (Self::Filling, E::Lost) => Self::Interrupted,
            (Self::Greeting | Self::Receiving | Self::Ready, E::Lost) => Self::Discarded,
            (phase, event) => return Err(Illegal { phase, event }),
        })
    }

    /// Whether the VM may run here.
    #[must_use]
    pub const fn may_run(self) -> bool {
        matches!(self, Self::Started | Self::Filling)
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Started | Self::Discarded | Self::Interrupted)
    }
}

#[cfg(test)]
mod tests;
