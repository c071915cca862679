//! Everything that the watchdog's registers hold, in one word, and the one function that changes it.
//!
//! ```text
//!   LOCKED register:  0x80 ─▶ half open ── 0x86 ─▶ open ── any write ─▶ closed      (any other write: closed)
//!   the count:        off ── enable ─▶ RESTART ── taken by the clock ─▶ counts ── expire ─▶ TIMED_OUT
//!                      ▲                  ▲  └──────── reload ───────────┘
//!                      └──── disable ─────┴── from everywhere, unless LOCKED
//! ```
//!
//! RESTART is an order to the clock, consumed by exactly one compare-and-swap. An expiry is illegal while there is one: a guest that
//! reloads in time wins, however late the clock's thread is.

use std::time::Duration;

/// Bits of a preload value.
const PRELOAD_BITS: u32 = 20;
const PRELOAD: u64 = (1 << PRELOAD_BITS) - 1;
const SECOND_SHIFT: u32 = PRELOAD_BITS;
const HALF_OPEN: u64 = 1 << 40;
const OPEN: u64 = 1 << 41;
const TIMED_OUT: u64 = 1 << 42;
const ENABLED: u64 = 1 << 43;
const LOCKED: u64 = 1 << 44;
const FREE_RUN: u64 = 1 << 45;
const RESTART: u64 = 1 << 46;
const CONFIG_SHIFT: u32 = 47;
/// Interrupt type, prescaler and output of the configuration register.
const CONFIG: u64 = 0b10_0111 << CONFIG_SHIFT;
/// The prescaler divides by 2⁵ and not by 2¹⁵.
const FAST: u64 = 1 << 2 << CONFIG_SHIFT;
/// An expiry has no effect outside.
const OUTPUT_OFF: u64 = 1 << 5 << CONFIG_SHIFT;

/// What opens the registers for one write, in this order.
const UNLOCK: [u32; 2] = [0x80, 0x86];
/// Reload register: begin to count anew.
const RELOAD: u32 = 1 << 8;
/// Reload register: the count has come to its end; written, forgets that.
const TIMEOUT: u32 = 1 << 9;
/// Lock register.
const LOCK_LOCK: u8 = 1 << 0;
const LOCK_ENABLE: u8 = 1 << 1;
const LOCK_FREE_RUN: u8 = 1 << 2;

/// PCI clocks of a second.
const CLOCK_HZ: u64 = 33_000_000;
/// No stage is shorter, so that a guest cannot keep the clock's thread busy.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

/// A register that opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// Preload value of the first stage.
    First,
    /// Preload value of the second.
    Second,
    /// Reload and timeout.
    Reload,
    /// Any other place, or a width that is none: only closes.
    Nothing,
}

/// What happens to the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A write to the memory block.
    Write(Register, u32),
    /// A write of the configuration register's low byte.
    Configure(u8),
    /// A write of the lock register.
    Lock(u8),
    /// The clock takes the order to begin anew.
    TakeRestart,
    /// The clock has come to the end of the second stage.
    Expire,
}

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// One of the two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    First,
    Second,
}

impl Word {
    /// After a reset: both preload values at their largest, closed, off. `timed_out`: that was the watchdog's doing.
    pub(super) const fn after_reset(timed_out: bool) -> Self {
        let preloads = PRELOAD << SECOND_SHIFT | PRELOAD;
        Self(if timed_out { preloads | TIMED_OUT } else { preloads })
    }

    /// The word after an event; `None` where the event is not legal, or changes nothing.
    pub(super) const fn after(self, event: Event) -> Option<Self> {
        let word = self.0;
        let next = match event {
            Event::Write(register, value) => self.write(register, value),
            Event::Configure(value) => word & !CONFIG | (value as u64) << CONFIG_SHIFT & CONFIG,
            Event::Lock(value) => self.lock(value),
            Event::TakeRestart => word & !RESTART,
            Event::Expire if self.is_counting() && word & RESTART == 0 => word | TIMED_OUT,
            Event::Expire => return None,
        };
        if next == word { None } else { Some(Self(next)) }
    }

    const fn write(self, register: Register, value: u32) -> u64 {
        let word = self.0;
        let closed = word & !(HALF_OPEN | OPEN);
        match register {
            Register::Reload if value == UNLOCK[0] => closed | HALF_OPEN,
            Register::Reload if value == UNLOCK[1] && word & HALF_OPEN != 0 => closed | OPEN,
            _ if word & OPEN == 0 => closed,
            Register::First => closed & !PRELOAD | value as u64 & PRELOAD,
            Register::Second => {
                closed & !(PRELOAD << SECOND_SHIFT) | (value as u64 & PRELOAD) << SECOND_SHIFT
            }
            Register::Reload => {
                let reload = if value & RELOAD != 0 && self.is_counting() { RESTART } else { 0 };
                let told = if value & TIMEOUT != 0 { TIMED_OUT } else { 0 };
                closed & !told | reload
            }
            Register::Nothing => closed,
        }
    }

    const fn lock(self, value: u8) -> u64 {
        let word = self.0;
        if word & LOCKED != 0 {
            return word;
        }
        let mut next = word & !(FREE_RUN | ENABLED);
        if value & LOCK_FREE_RUN != 0 {
            next |= FREE_RUN;
        }
        if value & LOCK_LOCK != 0 {
            next |= LOCKED;
        }
        match (value & LOCK_ENABLE != 0, word & ENABLED != 0) {
            (false, _) => next & !RESTART,
            (true, false) => next | ENABLED | RESTART,
            (true, true) => next | ENABLED,
        }
    }

    /// Whether events can lead to it.
    pub(super) const fn is_coherent(self) -> bool {
        let flags = HALF_OPEN | OPEN | TIMED_OUT | ENABLED | LOCKED | FREE_RUN | RESTART;
        let layout = PRELOAD | PRELOAD << SECOND_SHIFT | flags | CONFIG;
        self.0 & !layout == 0
            && (self.0 & RESTART == 0 || self.is_counting())
            && self.0 & (HALF_OPEN | OPEN) != HALF_OPEN | OPEN
    }

    /// What a read of the block's register gives.
    pub(super) const fn read(self, register: Register) -> u32 {
        match register {
            // 20 bits each.
            Register::First => (self.0 & PRELOAD) as u32,
            Register::Second => (self.0 >> SECOND_SHIFT & PRELOAD) as u32,
            Register::Reload if self.0 & TIMED_OUT != 0 => TIMEOUT,
            Register::Reload | Register::Nothing => 0,
        }
    }

    /// What a read of the configuration register gives.
    pub(super) const fn configuration(self) -> u8 {
        ((self.0 & CONFIG) >> CONFIG_SHIFT) as u8
    }

    /// What a read of the lock register gives.
    pub(super) fn lock_register(self) -> u8 {
        let bit = |set: u64, bit: u8| if self.0 & set != 0 { bit } else { 0 };
        bit(LOCKED, LOCK_LOCK) | bit(ENABLED, LOCK_ENABLE) | bit(FREE_RUN, LOCK_FREE_RUN)
    }

    /// Whether the guest wants it to count.
    pub(super) const fn is_counting(self) -> bool {
        self.0 & ENABLED != 0
    }

    /// Whether an event makes the count begin anew by a reload.
    pub(super) const fn is_reload(self, event: Event) -> bool {
        let is_reload =
            matches!(event, Event::Write(Register::Reload, value) if value & RELOAD != 0);
        is_reload && self.0 & OPEN != 0 && self.is_counting()
    }

    /// Whether the clock is to begin anew.
    pub(super) const fn is_restarted(self) -> bool {
        self.0 & RESTART != 0
    }

    /// Whether it counts again after its end.
    pub(super) const fn runs_free(self) -> bool {
        self.0 & FREE_RUN != 0
    }

    /// Whether its end has an effect.
    pub(super) const fn has_output(self) -> bool {
        self.0 & OUTPUT_OFF == 0
    }

    /// How long a stage lasts.
    pub(super) fn duration(self, stage: Stage) -> Duration {
        let preload = match stage {
            Stage::First => self.read(Register::First),
            Stage::Second => self.read(Register::Second),
        };
        let clocks = u64::from(preload) << if self.0 & FAST != 0 { 5 } else { 15 };
        // At most 2³⁵ clocks: nothing overflows.
        Duration::from_nanos(clocks * 1_000 / (CLOCK_HZ / 1_000_000)).max(SHORTEST)
    }
}
