//! Atomics, threads and futex words: std's in production, loom's or shuttle's under a model checker.
//!
//! Production code uses nothing else for these, so that a model runs the code that ships.
//! `Arc` is std's everywhere: the checkers need not see reference counts.

mod futex;
mod read;

pub use futex::FutexWord;
pub use read::read;
#[cfg(loom)]
pub use read::{Reads, set_reads};
pub use std::sync::Arc;

#[cfg(not(any(loom, shuttle)))]
pub use std::{sync::atomic, thread};

#[cfg(loom)]
pub use loom::{sync::atomic, thread};

#[cfg(shuttle)]
pub use shuttle::{sync::atomic, thread};
