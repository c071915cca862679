//! What tests and fuzzers need: guest memory without a guest, and a storage that fails and crashes where it is told to.

mod memory;
mod storage;

pub use memory::ModelMemory;
pub use storage::{Fault, ModelFile, ModelStorage};

/// Makes the checksums in a stream of units right again, as far as it still has the shape of one.
pub fn reseal(stream: &mut [u8]) {
    crate::format::reseal(stream);
}
