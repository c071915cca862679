//! The driver's side, for tests and fuzzers: rings in a small guest memory, and a worker run step by step.

mod device;
mod driver;
mod interrupts;
mod platform;
mod runner;
mod watch;

pub use device::{Activating, Seen, TestDevice, Working};
pub use driver::{Buffers, Driver, Sent, activation};
pub use interrupts::Interrupts;
pub use platform::TestPlatform;
pub use runner::Runner;
