//! Limits of what a guest moves in a time, for disks and network cards.
//!
//! ```text
//!   worker ── pay (before) or look, then charge (after) ──▶ Limiter ─▶ buckets: bytes, requests
//!      ▲                                                       │ Throttled: how long
//!      └──────────────── Timer: try again ◀────────────────────┘
//! ```
//!
//! Buckets are shared by all workers of what they limit, by atomics only. A throttled worker waits for nothing but its
//! timer, which a pause does not wait for.

mod bucket;
mod limiter;
mod options;
mod timer;

#[cfg(test)]
pub(crate) use limiter::Clock;
pub(crate) use limiter::Limiter;
pub use options::{Limits, TokenBucket};
pub(crate) use timer::Timer;

/// How long to wait, in nanoseconds, before it can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Throttled(pub u64);
