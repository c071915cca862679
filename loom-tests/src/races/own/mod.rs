//! Entries of this project's own: races that its design could have had, and that no catalogue tells of.

mod skipped_wake;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[skipped_wake::SOME, skipped_wake::ALL];
