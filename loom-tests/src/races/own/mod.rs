//! Entries of this project's own: races that its design could have had, and that no catalogue tells of.

mod activation_in_pause;
mod pause_given_up;
mod queue_reset;
mod skipped_wake;

use crate::model::Model;

/// The entries.
pub const MODELS: &[Model] = &[
    activation_in_pause::ACTIVATION,
    activation_in_pause::RESET,
    activation_in_pause::STOPPED,
    pause_given_up::VCPU,
    pause_given_up::WORKER,
    pause_given_up::IN_TIME,
    queue_reset::NOT_ACKED,
    queue_reset::LOST_WAKE,
    queue_reset::DEAD_WORKER,
    queue_reset::IN_PAUSE,
    queue_reset::IN_DRAIN,
    skipped_wake::SOME,
    skipped_wake::ALL,
];
