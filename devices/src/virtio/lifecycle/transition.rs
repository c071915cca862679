//! What can happen to a device, and what each event makes of its word.

use super::word::{Cause, State, Word, status};

/// What the driver's features are at the moment of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// A subset of what is offered, with what the device cannot do without.
    Acceptable,
    /// Not that: FEATURES_OK stays clear (virtio 1.2, 2.2.2).
    Unacceptable,
}

/// Something that happens to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A vCPU writes the status register. 0 asks for a reset; bits can only be added otherwise.
    WriteStatus {
        /// What is written.
        value: u8,
        /// Whether FEATURES_OK may be set.
        features: Negotiation,
    },
    /// The host takes the device away: a last reset.
    Remove,
    /// Activator: the workers have been made.
    Activated {
        /// The activation that succeeded.
        generation: u32,
    },
    /// Activator: they could not be made.
    ActivationFailed {
        /// The activation that failed.
        generation: u32,
        /// Why.
        cause: Cause,
    },
    /// A worker: cannot go on.
    WorkerDied {
        /// The activation that it was made by.
        generation: u32,
        /// Why.
        cause: Cause,
    },
    /// Activator: no worker is left, and the registers are as new.
    ResetDone,
}

/// An event that cannot happen to a word: its sender has lost count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// No activation is going on.
    #[error("no activation is going on")]
    NotActivating,
    /// No reset is going on.
    #[error("no reset is going on")]
    NotResetting,
}

/// What `event` makes of `word`. Pure and total: every word and event has an answer.
pub const fn transition(word: Word, event: Event) -> Result<Word, Illegal> {
    match event {
        Event::WriteStatus { value: 0, .. } => Ok(word.with_state(State::Resetting)),
        Event::WriteStatus { value, features } => Ok(write(word, value, features)),
        Event::Remove => Ok(word.removed()),
        Event::Activated { generation } => match activating(word, generation) {
            // A worker died before all were made.
            Ok(true) if word.has(status::NEEDS_RESET) => Ok(word.with_state(State::Failed)),
            Ok(true) => Ok(word.with_state(State::Active)),
            Ok(false) => Ok(word),
            Err(illegal) => Err(illegal),
        },
        Event::ActivationFailed { generation, cause } => match activating(word, generation) {
            Ok(true) => Ok(word.broken(cause).with_state(State::Failed)),
            Ok(false) => Ok(word),
            Err(illegal) => Err(illegal),
        },
        Event::WorkerDied { generation, cause } => Ok(worker_died(word, generation, cause)),
        Event::ResetDone => match word.state() {
            State::Resetting => Ok(word.pristine()),
            _ => Err(Illegal::NotResetting),
        },
    }
}

const fn write(word: Word, value: u8, features: Negotiation) -> Word {
    // A device in reset takes nothing, and neither does one that is gone.
    if matches!(word.state(), State::Resetting) || word.is_removed() {
        return word;
    }
    let mut set = value & status::DRIVERS;
    if !matches!(word.state(), State::Inactive) {
        // Agreed and ready already: what is left is that the driver gives up.
        return word.with_status(set & !(status::FEATURES_OK | status::DRIVER_OK));
    }
    if matches!(features, Negotiation::Unacceptable) {
        set &= !status::FEATURES_OK;
    }
    // The driver has to see FEATURES_OK stay before it goes on (virtio 1.2, 3.1.1): both at once is one too many.
    let may_start = word.has(status::FEATURES_OK) && (word.status() | set) & status::FAILED == 0;
    if set & status::DRIVER_OK == 0 || !may_start {
        return word.with_status(set & !status::DRIVER_OK);
    }
    word.with_status(set).with_state(State::Activating).next_generation()
}

/// Whether this activation is going on; `Ok(false)` if a reset has overtaken it.
const fn activating(word: Word, generation: u32) -> Result<bool, Illegal> {
    match word.state() {
        State::Activating if word.generation() == generation => Ok(true),
        State::Resetting if word.generation() == generation => Ok(false),
        _ => Err(Illegal::NotActivating),
    }
}

const fn worker_died(word: Word, generation: u32, cause: Cause) -> Word {
    if word.generation() != generation {
        return word;
    }
    match word.state() {
        // The activator makes the others, and then sees it.
        State::Activating => word.broken(cause),
        State::Active | State::Failed => word.broken(cause).with_state(State::Failed),
        // It is to end anyway.
        State::Inactive | State::Resetting => word,
    }
}
