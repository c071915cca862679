//! Rounds in which a guest ends while the host does something.

pub mod plan;
