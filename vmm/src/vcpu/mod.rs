//! vCPU threads: the run loop, the kick, the completion of exits, and what to say when one fails.
//!
//! ```text
//!              ┌────────────── next() ◀──────────────────────────┐
//!    Kill ◀────┤ (completes the pending exit)                    │
//!              ├─ Pause ──▶ complete the pending exit ──▶ park ──┤
//!              ├─ Ticket ─▶ wait for it ─────────────────────────┤
//!              ├─ OneShot ▶ take it, inject ─────────────────────┤
//!              └─ Enter ──▶ clear immediate_exit ▶ enter() ▶ KVM_RUN ▶ leave() ▶ handle the exit
//! ```
//!
//! Invariants: nothing on this path takes a lock, joins a thread, does blocking I/O on the host or
//! writes a log synchronously; a vCPU is PAUSED or DEAD only with no exit pending; a thread that ends, for
//! whatever reason, publishes DEAD.

mod counters;
mod exits;
mod failure;
mod handle;
mod identity;
mod reset;
mod run_loop;
mod run_page;
mod signal;
mod startup;
mod thread;

pub use counters::{ExitCounters, ExitKind};
pub use exits::GuestEnd;
pub use failure::VcpuFailure;
pub use handle::VcpuHandle;
pub use identity::Identity;
pub use signal::{GroupKick, KickError, SignalKick};
pub use startup::{Arrival, Startup};
pub use thread::{End, SpawnError, Vcpu, VcpuParts, VcpuThread, spawn};
