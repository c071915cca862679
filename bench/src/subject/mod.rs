//! The two VMs that are measured: one behind the API socket of a process, one in this process.

mod in_process;
mod process;
mod socket;

pub use in_process::{InProcess, Special};
pub use process::{Tie, VmmProcess, find};
pub use socket::Socket;
