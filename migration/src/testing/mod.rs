//! What tests and fuzzers need: guest memory without a guest, and a storage that fails and crashes where it is told to.

mod disk;
mod memory;
mod storage;

pub use disk::{Fault, ModelFile};
pub use memory::ModelMemory;
pub use storage::ModelStorage;

/// Makes the checksums in a stream of units right again, as far as it still has the shape of one.
pub fn reseal(stream: &mut [u8]) {
    crate::format::reseal(stream);
}
