//! What tests and fuzzers need: a storage that fails and crashes where it is told to.

mod storage;

pub use storage::{Fault, ModelFile, ModelStorage};
