//! The device word: a virtio device's status and lifecycle in 64 bits, and what can happen to it.
//!
//! ```text
//!  63            32 31    24 23     16 15 12 11 10   8 7        0
//! +----------------+--------+---------+-----+--+------+----------+
//! |   generation   |  zero  |  cause  |zero |R |state |  status  |
//! +----------------+--------+---------+-----+--+------+----------+
//!
//!   ACKNOWLEDGE, DRIVER, FEATURES_OK
//!      ┌──┐
//!      │  ▼        DRIVER_OK                   Activated
//!     Inactive ───────────────▶ Activating ───────────────▶ Active
//!        ▲                       │    │                      │  │
//!        │                       │    │ ActivationFailed     │  │ WorkerDied
//!        │ ResetDone             │    └────────▶ Failed ◀────┼──┘
//!        │                       ▼ write of 0     │          │
//!        └────────────────── Resetting ◀──────────┴──────────┘
//! ```
//!
//! A vCPU's write of the status register is a compare-and-swap; everything that takes time (Activating, Resetting) is
//! left to the activator's thread, and the vCPU waits for it with a ticket.
//!
//! Invariants:
//! - Exactly one compare-and-swap leads to Activating in each generation: the right to activate is won once,
//!   however many vCPUs write DRIVER_OK. The others wait for the same work.
//! - The status reads 0 after a reset only in Inactive: until the workers have let go of guest memory it reads what it
//!   was before. What is written meanwhile is lost, as on a device that is in reset (virtio 1.2, 3.1.1 and
//!   4.1.4.3.2: the driver waits for 0).
//! - A reset may come at any time. What an activation that it overtook comes to, and the death of a worker of an
//!   earlier generation, changes nothing.
//! - DEVICE_NEEDS_RESET is the device's: it stands with its cause from a failure to the end of the next reset.
//! - A device that was removed ends its last reset and is never activated again.

mod saved;
mod transition;
mod word;

pub use saved::SavedWord;
pub use transition::{Event, Illegal, Negotiation, transition};
pub use word::{Cause, State, Word, status};
