//! The catalogue of lifecycle races that virtual machine monitors have shipped.
//!
//! One module for each entry, under its name. Each says where the bug was, its mechanism, and the
//! invariant that excludes it here. `CH` is Cloud Hypervisor, `cy` its fork by Cyberus Technology, `FC`
//! Firecracker; a number is that of a public issue or change there; "read" marks a bug that was found
//! by reading the source and has no public report.

pub mod a;
pub mod b;
pub mod c;
pub mod d;
pub mod own;

use crate::model::Model;

/// Every entry of the catalogue, in its order.
pub fn models() -> impl Iterator<Item = &'static Model> {
    a::MODELS.iter().chain(b::MODELS).chain(c::MODELS).chain(d::MODELS)
}
