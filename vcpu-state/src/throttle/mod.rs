//! The throttle: some members of a group stand still for a share of the time, by a duty cycle.
//!
//! ```text
//!   start ─▶ run ──time──▶ hold (one more holder in each word) ──time──▶ let go ─▶ run …
//!             │                                                            └─▶ others hold it: wait for them
//!             └───────── the handle is dropped, in any of them: let go, end ─────────┘
//! ```
//!
//! Three parts: the [`DutyCycle`] that is wanted; the [`Controller`], which is pure and says, from what
//! the halves before came to, how long the next may be; the driver, a thread that holds and lets go.
//!
//! Invariants:
//! * It is one more pauser and nothing else: a pause of a throttled group finds the members still already, or
//!   asks them as it always does. Nobody waits for the throttle.
//! * While another pauser holds the members, it sleeps until they are free. Such a time is no part of the share.
//! * The driver waits only on the group's news, where being ended and retuned are told, too: dropping the
//!   handle lets go at once, even if a member never stops.

mod controller;
mod driver;
mod duty;
mod observe;
mod share;
mod wake;

pub use controller::Controller;
pub use driver::{Pace, Throttle, WallClock};
pub use duty::{DutyCycle, InvalidDuty};
pub use share::Share;
