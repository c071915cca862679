//! Random programs over one VM, several hands at once, and what must hold whatever they do.
//!
//! ```text
//!   seed ──strategy──▶ Program ──▶ for each chapter:
//!      mode ──▶ hands at once: hold, pause, resume, NMI, mode, remove, add, … (perhaps shutdown or reboot)
//!           ──▶ everybody lets go ──▶ checks ──▶ next chapter
//! ```
//!
//! What is checked: while a hand holds the VM, no counter of the guest or of the exits moves, and every
//! word is quiescent; after the last release every vCPU goes on; no exit is lost or doubled; NMIs arrive
//! at most as often as they were asked for, and pending ones are one; whatever was done, the VM
//! can be booted again.

pub mod account;
pub mod bed;
pub mod hand;
pub mod host;
pub mod plan;
pub mod program;
pub mod watchdog;
