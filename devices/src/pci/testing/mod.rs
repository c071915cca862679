//! A hypervisor and functions for tests and fuzzers: they check what is asked of them.

mod bed;
mod function;
mod platform;

pub use bed::{Bed, NoKick};
pub use function::Tagged;
pub use platform::{FakeLine, FakePlatform};
