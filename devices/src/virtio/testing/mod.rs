//! The driver's side, for tests and fuzzers: rings in a small guest memory, and a worker run step by step.

mod driver;
mod runner;

pub use driver::{Buffers, Driver, Interrupts, Sent, activation};
pub use runner::Runner;
