//! Who has a queue: its driver, a worker, or nobody, as a state that changes along one pure function.
//!
//! ```text
//!               enable             take                reset (a driver)            let go (its worker)
//!   Disabled ──────────▶ Enabled ─────────▶ Taken ───────────────────▶ Leaving ──────────────────▶ Empty
//!      ▲  ▲                │  ▲              ▲ ▲                          ▲                          │
//!      │  └── reset ───────┘  │              │ └─── take ── Returning ────┘ reset                    │
//!      │                      │              │                  ▲                                    │
//!      │                      └── orphan ────┘                  └───────────── enable ───────────────┘
//!      └── clear (a reset of the device), from everywhere; orphan, from Leaving and Empty
//! ```
//!
//! A reset of one queue (VIRTIO_F_RING_RESET; virtio 1.2, 2.6.1 and 4.1.4.3) is carried out by the worker that has the queue:
//! it drains, forgets the ring, and only then says so. The driver reads `queue_reset` until it is 0. No vCPU waits, and nobody
//! waits for a worker that is paused: it lets go when it goes on.
//!
//! Invariants: from Empty to Returning no worker touches the ring; the queue's registers can be written only where no worker
//! reads them, which is in Disabled and Empty; `queue_reset` reads 1 exactly in Leaving.

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum QueueState {
    /// Its driver has not enabled it.
    Disabled,
    /// Its driver has; no worker has it.
    Enabled,
    /// A worker has it.
    Taken,
    /// A worker has it, and is to let go of it.
    Leaving,
    /// A worker waits for its driver to enable it again.
    Empty,
    /// Its driver has; the worker is to take it.
    Returning,
}

/// What can happen to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueEvent {
    /// The driver writes 1 to `queue_enable`.
    Enable,
    /// The driver writes 1 to `queue_reset`.
    Reset,
    /// A worker begins to use it.
    Take,
    /// Its worker has let go of its ring.
    LetGo,
    /// Its worker is no more.
    Orphan,
    /// The device was reset.
    Clear,
}

impl QueueState {
    pub(super) const fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Enabled,
            2 => Self::Taken,
            3 => Self::Leaving,
            4 => Self::Empty,
            5 => Self::Returning,
            // 0, and numbers that are never stored.
            _ => Self::Disabled,
        }
    }

    /// What `queue_enable` reads.
    #[must_use]
    pub const fn is_enabled(self) -> bool {
        matches!(self, Self::Enabled | Self::Taken | Self::Leaving | Self::Returning)
    }

    /// Whether a worker has it, or is to have it when its driver has set it up again.
    #[must_use]
    pub const fn has_worker(self) -> bool {
        !matches!(self, Self::Disabled | Self::Enabled)
    }

    /// What `queue_reset` reads.
    #[must_use]
    pub const fn is_resetting(self) -> bool {
        matches!(self, Self::Leaving)
    }

    /// What it becomes; an event that means nothing here leaves it as it is.
    pub(super) const fn after(self, event: QueueEvent) -> Self {
        match (self, event) {
            (Self::Disabled, QueueEvent::Enable)
            | (Self::Taken | Self::Returning, QueueEvent::Orphan) => Self::Enabled,
            (_, QueueEvent::Clear)
            | (Self::Enabled, QueueEvent::Reset)
            | (Self::Leaving | Self::Empty, QueueEvent::Orphan) => Self::Disabled,
            (Self::Enabled | Self::Returning, QueueEvent::Take) => Self::Taken,
            (Self::Taken | Self::Returning, QueueEvent::Reset) => Self::Leaving,
            // A reset came before the worker: it has nothing to let go of.
            (Self::Leaving, QueueEvent::LetGo) | (Self::Disabled, QueueEvent::Take) => Self::Empty,
            (Self::Empty, QueueEvent::Enable) => Self::Returning,
            (state, _) => state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [QueueEvent; 6] = [
        QueueEvent::Enable,
        QueueEvent::Reset,
        QueueEvent::Take,
        QueueEvent::LetGo,
        QueueEvent::Orphan,
        QueueEvent::Clear,
    ];
    const STATES: [QueueState; 6] = [
        QueueState::Disabled,
        QueueState::Enabled,
        QueueState::Taken,
        QueueState::Leaving,
        QueueState::Empty,
        QueueState::Returning,
    ];

    fn every() -> impl Iterator<Item = (QueueState, QueueEvent, QueueState)> {
        let events = |state: QueueState| EVENTS.map(|event| (state, event, state.after(event)));
        STATES.into_iter().flat_map(events)
    }

    #[test]
    fn every_state_has_a_number() {
        for state in STATES {
            assert_eq!(QueueState::from_bits(state as u32), state);
        }
    }

    #[test]
    fn a_worker_gets_a_ring_by_taking_it_and_loses_it_by_letting_go_or_with_its_end() {
        let has = |state| matches!(state, QueueState::Taken | QueueState::Leaving);
        for (old, event, new) in every() {
            if !has(old) && has(new) {
                // A reset before the take: the worker finds Leaving, and has no ring of that yet.
                let no_ring = (old, event) == (QueueState::Returning, QueueEvent::Reset);
                assert!(event == QueueEvent::Take || no_ring, "{old:?} {event:?} {new:?}");
            }
            if has(old) && !has(new) {
                let lost = [QueueEvent::LetGo, QueueEvent::Orphan, QueueEvent::Clear];
                assert!(lost.contains(&event), "{old:?} {event:?} {new:?}");
            }
        }
    }

    #[test]
    fn a_driver_alone_ends_no_reset_and_a_reset_ends_disabled() {
        for (old, event, new) in every().filter(|(old, _, _)| old.is_resetting()) {
            let drivers = matches!(event, QueueEvent::Enable | QueueEvent::Reset);
            assert!(!drivers || new == old, "{old:?} {event:?} {new:?}");
            assert!(new.is_resetting() || !new.is_enabled(), "{old:?} {event:?} {new:?}");
        }
    }

    #[test]
    fn a_reset_of_the_device_disables_from_everywhere_and_only_a_take_gives_a_worker_a_queue() {
        for (old, event, new) in every() {
            assert!(event != QueueEvent::Clear || new == QueueState::Disabled, "{old:?}");
            let without = [QueueState::Disabled, QueueState::Enabled];
            if event == QueueEvent::Orphan {
                assert!(without.contains(&new), "{old:?} {new:?}");
            }
            if without.contains(&old) && !without.contains(&new) {
                assert_eq!(event, QueueEvent::Take, "{old:?} {new:?}");
            }
        }
    }
}
