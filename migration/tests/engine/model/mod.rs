//! Model VMs at both ends.

mod asks;
mod destination;
mod source;

use migration::format::{StateWriter, Unit};
use serde::{Deserialize, Serialize};

pub use asks::Trouble;
pub use destination::Destination;
pub use source::{Source, Still};

pub const CONFIG: &[u8] = b"{\"model\": true}";

/// All of a model's state: how much its guest has written.
#[derive(Serialize, Deserialize)]
struct Writes(u64);

impl Unit for Writes {
    const KIND: &'static str = "writes";
    const VERSION: u16 = 1;
}

/// A state that says that nothing was written.
pub fn state_of_nothing() -> Vec<u8> {
    let mut writer = StateWriter::new();
    writer.put(&Writes(0)).expect("it is the only one");
    writer.finish()
}
