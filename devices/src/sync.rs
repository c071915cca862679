//! Atomics through the shim, so that a model checker sees the devices' as it sees the words'.
pub(crate) use vcpu_state::sync::{atomic, read};
