//! What tests and fuzzers need: guest memory without a guest, and a storage that fails and crashes where it is told to.

mod memory;
mod storage;

pub use memory::ModelMemory;
pub use storage::{Fault, ModelFile, ModelStorage};
