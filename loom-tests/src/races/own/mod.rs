//! Entries of this project's own: races that its design could have had, and that no catalogue tells of.

mod activation_in_pause;
mod skipped_wake;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[
    activation_in_pause::ACTIVATION,
    activation_in_pause::RESET,
    activation_in_pause::STOPPED,
    skipped_wake::SOME,
    skipped_wake::ALL,
];
