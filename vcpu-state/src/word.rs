//! The word: one member's whole lifecycle in 64 bits.
//!
//! ```text
//!  63            32 31       24 23       16 15    10 9 8 7 6 5 4 3 2 1 0
//! +----------------+-----------+-----------+--------+-+-+-+-+-+-+-+-+-+-+
//! |     epoch      |incarnation|  holders  |  zero  |P|D|N|A|D|K|P|P|I|R|
//! +----------------+-----------+-----------+--------+-+-+-+-+-+-+-+-+-+-+
//!                                                    | | | | | | | | | +- RUN
//!                             PARKED ---------------+ | | | | | | | +--- IN_GUEST
//!                             DEBUG_STOP --------------+ | | | | | +----- PAUSE_REQUESTED
//!                             NMI -----------------------+ | | | +------- PAUSED
//!                             ACTIVATION_PENDING ----------+ | +--------- KILLED
//!                                                            +----------- DEAD
//! ```
//!
//! A word that the protocol can reach is *coherent* ([`Word::is_coherent`]).

use std::fmt;

/// One member's lifecycle: a value, not the atomic that holds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word(u64);

impl Word {
    /// The thread is in its loop.
    pub const RUN: u64 = 1 << 0;
    /// The thread is in KVM_RUN, or committed to enter it.
    pub const IN_GUEST: u64 = 1 << 1;
    /// Somebody wants it to stop at the next consistent point.
    pub const PAUSE_REQUESTED: u64 = 1 << 2;
    /// It has: no exit is pending, and it stays in its park.
    pub const PAUSED: u64 = 1 << 3;
    /// It must leave for good; dominates every other request.
    pub const KILLED: u64 = 1 << 4;
    /// The thread has left its loop.
    pub const DEAD: u64 = 1 << 5;
    /// It owes the guest the end of a device activation or reset before it may enter again.
    pub const ACTIVATION_PENDING: u64 = 1 << 6;
    /// A non-maskable interrupt is to be injected.
    pub const NMI: u64 = 1 << 7;
    /// A debugger wants to see it once.
    pub const DEBUG_STOP: u64 = 1 << 8;
    /// The thread is at its park. It may be asleep there after a resume already; a new pause then
    /// takes it back without waking it.
    pub const PARKED: u64 = 1 << 9;

    /// Every one-shot request.
    pub const ONE_SHOTS: u64 = Self::NMI | Self::DEBUG_STOP;
    /// Every flag.
    pub const FLAGS: u64 = (1 << 10) - 1;
    /// The most pausers that can hold one member at once.
    pub const MAX_HOLDERS: u8 = u8::MAX;

    const HOLDERS_SHIFT: u32 = 16;
    const INCARNATION_SHIFT: u32 = 24;
    const EPOCH_SHIFT: u32 = 32;

    /// A member whose thread has not started yet.
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

    /// Whether any of `flags` is set.
    #[must_use]
    pub const fn any(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// Pausers that hold the member.
    #[must_use]
    pub const fn holders(self) -> u8 {
        ((self.0 >> Self::HOLDERS_SHIFT) & 0xff) as u8
    }

    /// How many threads the slot has had before this one (modulo 256).
    #[must_use]
    pub const fn incarnation(self) -> u8 {
        ((self.0 >> Self::INCARNATION_SHIFT) & 0xff) as u8
    }

    /// The generation of the newest pause request (modulo 2³²).
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> Self::EPOCH_SHIFT) as u32
    }

    /// Whether the member does nothing and will begin nothing while a pause is requested: parked
    /// for it, dead, or not started.
    #[must_use]
    pub const fn is_quiescent(self) -> bool {
        self.any(Self::PAUSED | Self::DEAD) || !self.any(Self::RUN)
    }

    /// Whether a pauser still waits for this member.
    #[must_use]
    pub const fn owes_ack(self) -> bool {
        self.any(Self::PAUSE_REQUESTED) && !self.is_quiescent()
    }

    /// Whether the member may go (back) into the guest: running, and nothing asked of it.
    #[must_use]
    pub const fn may_enter(self) -> bool {
        let no = Self::IN_GUEST
            | Self::PAUSE_REQUESTED
            | Self::KILLED
            | Self::DEAD
            | Self::ACTIVATION_PENDING
            | Self::PARKED
            | Self::ONE_SHOTS;
        self.any(Self::RUN) && !self.any(no)
    }

    /// Whether the member will enter the guest as soon as its thread gets to it: nobody holds it, and it waits
    /// for no ticket. One that handles an exit is on its way, too.
    #[must_use]
    pub const fn is_on_its_way(self) -> bool {
        let no = Self::IN_GUEST
            | Self::PAUSE_REQUESTED
            | Self::KILLED
            | Self::DEAD
            | Self::ACTIVATION_PENDING;
        self.any(Self::RUN) && !self.any(no)
    }

    /// Whether the protocol can reach this word.
    #[must_use]
    pub const fn is_coherent(self) -> bool {
        let parked_and_asked = self.any(Self::PARKED) && self.any(Self::PAUSE_REQUESTED);
        let running_only = Self::IN_GUEST | Self::PARKED | Self::PAUSED | Self::ACTIVATION_PENDING;
        let zero = 0xffff & !Self::FLAGS;
        self.any(Self::PAUSED) == parked_and_asked
            && self.any(Self::PAUSE_REQUESTED) == (self.holders() > 0)
            && !(self.any(Self::PARKED | Self::ACTIVATION_PENDING) && self.any(Self::IN_GUEST))
            && (self.any(Self::RUN) || !self.any(running_only))
            && !(self.any(Self::DEAD) && self.any(Self::RUN))
            && !self.any(zero)
    }

    pub(crate) const fn with(self, flags: u64) -> Self {
        Self(self.0 | flags)
    }

    pub(crate) const fn without(self, flags: u64) -> Self {
        Self(self.0 & !flags)
    }

    pub(crate) const fn with_holders(self, holders: u8) -> Self {
        let cleared = self.0 & !(0xff << Self::HOLDERS_SHIFT);
        Self(cleared | ((holders as u64) << Self::HOLDERS_SHIFT))
    }

    pub(crate) const fn next_epoch(self) -> Self {
        // The epoch is the topmost field, so an overflow of the addition falls off the word.
        Self(self.0.wrapping_add(1 << Self::EPOCH_SHIFT))
    }

    pub(crate) const fn next_incarnation(self) -> Self {
        let next = self.incarnation().wrapping_add(1) as u64;
        let cleared = self.0 & !(0xff << Self::INCARNATION_SHIFT);
        Self(cleared | (next << Self::INCARNATION_SHIFT))
    }
}

/// The flags with their names, lowest bit first.
const NAMES: [(u64, &str); 10] = [
    (Word::RUN, "RUN"),
    (Word::IN_GUEST, "IN_GUEST"),
    (Word::PAUSE_REQUESTED, "PAUSE_REQUESTED"),
    (Word::PAUSED, "PAUSED"),
    (Word::KILLED, "KILLED"),
    (Word::DEAD, "DEAD"),
    (Word::ACTIVATION_PENDING, "ACTIVATION_PENDING"),
    (Word::NMI, "NMI"),
    (Word::DEBUG_STOP, "DEBUG_STOP"),
    (Word::PARKED, "PARKED"),
];

/// `RUN|IN_GUEST epoch=3`, with holders and incarnation where they are not zero.
impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, name) in NAMES {
            if self.any(flag) {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if separator.is_empty() {
            f.write_str("NEW")?;
        }
        write!(f, " epoch={}", self.epoch())?;
        if self.holders() > 0 {
            write!(f, " holders={}", self.holders())?;
        }
        if self.incarnation() > 0 {
            write!(f, " incarnation={}", self.incarnation())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({self})")
    }
}
