//! The count of a watchdog: what is left of its stage, as a pure thing that is told the time.
//!
//! ```text
//!           restart                 end of stage           end of stage
//!   off ─────────────▶ first stage ──────────────▶ second ──────────────▶ spent (or first again, if it runs free)
//!    ▲                    │   ▲ ▲                    │ │
//!    └──── disabled ──────┘   │ └──── restart ───────┘ │
//!                     go_on() │                        │ stand_still()
//!                             └── stands still, with ──┘
//!                                  what is left
//! ```
//!
//! A stage that ends late (its thread got no processor) is followed by a whole next one: the guest has at least what it asked for.

use std::time::{Duration, Instant};

use super::registers::{Expiry, Registers};
use super::word::Stage;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// It does not count: it was not told to, or has come to its end.
    #[default]
    Off,
    /// Until then it is in this stage.
    Runs(Stage, Instant),
}

/// The count.
#[derive(Debug, Default)]
pub(super) struct Count(State);

/// What has happened by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// How long nothing will happen by itself; `None`: for ever.
    pub(super) idle: Option<Duration>,
    /// Whether the guest's time is up, and that has an effect.
    pub(super) expired: bool,
}

impl Count {
    /// Looks at the registers and at the clock, and does what is to be done now. Not while it stands still.
    pub(super) fn look(&mut self, registers: &Registers, now: Instant) -> Looked {
        let mut expired = false;
        let word = registers.take_restart();
        if word.is_restarted() {
            self.0 = State::Runs(Stage::First, now + word.duration(Stage::First));
        } else if !word.is_counting() {
            self.0 = State::Off;
        }
        // At most two turns: what begins now ends later than now.
        while let State::Runs(stage, end) = self.0
            && end <= now
        {
            self.0 = match stage {
                Stage::First => State::Runs(Stage::Second, now + word.duration(Stage::Second)),
                Stage::Second => match registers.expire() {
                    // The guest was faster. The order is taken the next time, which is at once.
                    Expiry::Overtaken => return Looked { idle: Some(Duration::ZERO), expired },
                    Expiry::Done(word) => {
                        expired |= word.has_output();
                        if word.runs_free() {
                            State::Runs(Stage::First, now + word.duration(Stage::First))
                        } else {
                            State::Off
                        }
                    }
                },
            };
        }
        let idle = match self.0 {
            State::Runs(_, end) => Some(end - now),
            State::Off => None,
        };
        Looked { idle, expired }
    }

    /// Time stops for the guest, with so much left of this stage; `None` if it does not count.
    pub(super) fn stand_still(&mut self, now: Instant) -> Option<(Stage, Duration)> {
        match std::mem::take(&mut self.0) {
            State::Runs(stage, end) => Some((stage, end.saturating_duration_since(now))),
            State::Off => None,
        }
    }

    /// Time goes on for the guest, with so much left.
    pub(super) fn go_on(&mut self, left: Option<(Stage, Duration)>, now: Instant) {
        self.0 = left.map_or(State::Off, |(stage, left)| State::Runs(stage, now + left));
    }
}
