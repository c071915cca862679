//! The word and its fields.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The status register's bits (virtio 1.2, 2.1).
pub mod status {
    /// The driver has found the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// The features are agreed on.
    pub const FEATURES_OK: u8 = 8;
    /// The device cannot go on without a reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The driver has given up.
    pub const FAILED: u8 = 128;
    /// What a driver can set.
    pub const DRIVERS: u8 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
}

/// Where a device is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No worker, and none is asked for: the driver negotiates, or there is none.
    Inactive,
    /// DRIVER_OK was written; the activator makes the workers.
    Activating,
    /// The workers work.
    Active,
    /// DEVICE_NEEDS_RESET: there are no workers, or not all of them.
    Failed,
    /// 0 was written; the activator ends the workers.
    Resetting,
}

impl State {
    const fn bits(self) -> u64 {
        self as u64
    }

    const fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::Inactive,
            1 => Self::Activating,
            2 => Self::Active,
            3 => Self::Failed,
            // Patterns that no word has; the safest of all answers is a reset.
            _ => Self::Resetting,
        }
    }
}

/// Why a device needs a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The features that were agreed on have been changed since.
    Features,
    /// A queue that the driver enabled cannot be one.
    Queue,
    /// The device type or the host refused the activation.
    Activation,
    /// A ring or a request breaks the rules.
    Malformed,
    /// The host refused something that a worker needs.
    Host,
    /// The device's code panicked.
    Panic,
}

impl Cause {
    const fn bits(self) -> u64 {
        self as u64 + 1
    }

    const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            1 => Some(Self::Features),
            2 => Some(Self::Queue),
            3 => Some(Self::Activation),
            4 => Some(Self::Malformed),
            5 => Some(Self::Host),
            6 => Some(Self::Panic),
            _ => None,
        }
    }
}

/// One device's lifecycle: a value, not the atomic that holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(u64);

const STATE_SHIFT: u32 = 8;
const STATE: u64 = 7 << STATE_SHIFT;
const REMOVED: u64 = 1 << 11;
const CAUSE_SHIFT: u32 = 16;
const CAUSE: u64 = 0xff << CAUSE_SHIFT;
const GENERATION_SHIFT: u32 = 32;

impl Word {
    /// A device that no driver has touched.
    pub const NEW: Self = Self(0);

    /// The word with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// What the status register reads.
    #[must_use]
    pub const fn status(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// Where the device is.
    #[must_use]
    pub const fn state(self) -> State {
        State::from_bits((self.0 & STATE) >> STATE_SHIFT)
    }

    /// Why it needs a reset, if it does.
    #[must_use]
    pub const fn cause(self) -> Option<Cause> {
        Cause::from_bits((self.0 & CAUSE) >> CAUSE_SHIFT)
    }

    /// Activations that have been asked for (modulo 2³²).
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// Whether the host has taken the device away.
    #[must_use]
    pub const fn is_removed(self) -> bool {
        self.0 & REMOVED != 0
    }

    /// Whether the activator owes something: who wrote the status register waits for it.
    #[must_use]
    pub const fn is_owed(self) -> bool {
        matches!(self.state(), State::Activating | State::Resetting)
    }

    /// Whether the driver may still change what is negotiated: features and queues.
    #[must_use]
    pub const fn is_negotiable(self) -> bool {
        matches!(self.state(), State::Inactive) && !self.is_removed()
    }

    /// Whether the status register has any of these bits.
    #[must_use]
    pub const fn has(self, status: u8) -> bool {
        self.status() & status != 0
    }

    /// Whether the protocol can reach this word.
    #[must_use]
    pub const fn is_coherent(self) -> bool {
        let layout = 0xff | STATE | REMOVED | CAUSE | (u64::MAX << GENERATION_SHIFT);
        let agreed = self.has(status::FEATURES_OK) && self.has(status::DRIVER_OK);
        let broken = self.has(status::NEEDS_RESET);
        let of_state = match self.state() {
            State::Inactive => !self.has(status::DRIVER_OK) && !broken,
            State::Activating => agreed,
            State::Active => agreed && !broken,
            State::Failed => agreed && broken,
            State::Resetting => true,
        };
        let gone = match self.state() {
            State::Inactive => self.status() == 0,
            state => matches!(state, State::Resetting),
        };
        of_state
            && self.0 & !layout == 0
            && self.0 & STATE <= State::Resetting.bits() << STATE_SHIFT
            && self.status() & !(status::DRIVERS | status::NEEDS_RESET) == 0
            && broken == self.cause().is_some()
            && (self.0 & CAUSE == 0 || self.cause().is_some())
            && (!self.is_removed() || gone)
    }

    /// The word with these fields, of a device that the host has not taken away.
    pub(super) fn of_fields(
        status: u8,
        state: State,
        cause: Option<Cause>,
        generation: u32,
    ) -> Self {
        let cause = cause.map_or(0, Cause::bits) << CAUSE_SHIFT;
        let generation = u64::from(generation) << GENERATION_SHIFT;
        Self(u64::from(status) | cause | generation).with_state(state)
    }

    pub(in crate::virtio) const fn with_state(self, state: State) -> Self {
        Self(self.0 & !STATE | state.bits() << STATE_SHIFT)
    }

    pub(super) const fn with_status(self, status: u8) -> Self {
        Self(self.0 | status as u64)
    }

    pub(super) const fn broken(self, cause: Cause) -> Self {
        let kept =
            if self.cause().is_some() { self.0 } else { self.0 | cause.bits() << CAUSE_SHIFT };
        Self(kept).with_status(status::NEEDS_RESET)
    }

    pub(super) const fn next_generation(self) -> Self {
        // The generation is the topmost field, so an overflow of the addition falls off the word.
        Self(self.0.wrapping_add(1 << GENERATION_SHIFT))
    }

    /// As new, but for what outlives a reset.
    pub(super) const fn pristine(self) -> Self {
        Self(self.0 & (REMOVED | u64::MAX << GENERATION_SHIFT))
    }

    pub(super) const fn removed(self) -> Self {
        Self(self.0 | REMOVED).with_state(State::Resetting)
    }
}

/// `Active status=0x0f generation=1`, with the cause of a failure.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} status={:#04x}", self.state(), self.status())?;
        write!(f, " generation={}", self.generation())?;
        if let Some(cause) = self.cause() {
            write!(f, " cause={cause:?}")?;
        }
        if self.is_removed() {
            f.write_str(" removed")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({self})")
    }
}
