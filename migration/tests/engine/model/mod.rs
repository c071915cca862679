//! Model VMs at both ends.

mod asks;
mod destination;
mod source;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use migration::format::{StateWriter, Unit};
use serde::{Deserialize, Serialize};

pub use asks::Trouble;
pub use destination::Destination;
pub use source::{Source, Still};

pub const CONFIG: &[u8] = b"{\"model\": true}";

/// The disks of a model, and how many backing files each has. One that has none is for direct I/O.
pub const DISKS: [(&str, u8); 3] = [("data", 0), ("root", 2), ("swap", 0)];

/// A file of this text.
pub fn file_of(text: &str) -> io::Result<OwnedFd> {
    let file = tempfile::tempfile()?;
    file.write_all_at(text.as_bytes(), 0)?;
    Ok(file.into())
}

/// The text of such a file.
pub fn text_of(file: &OwnedFd) -> io::Result<String> {
    let file = File::from(file.as_fd().try_clone_to_owned()?);
    let mut bytes = [0; 64];
    let read = file.read_at(&mut bytes, 0)?;
    String::from_utf8(bytes[..read].to_vec()).map_err(io::Error::other)
}

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
