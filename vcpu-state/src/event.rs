//! What can happen to a word: events, and the one function that says what each makes of it.
//!
//! ```text
//!            Start                     Enter
//!   NEW ─────────────▶ RUN ◀──────────────────▶ RUN|IN_GUEST
//!    │                 │ ▲         Leave
//!    │ Start, asked    │ │
//!    │      AckPause   │ │ Unpark (only when nobody asks)
//!    ▼                 ▼ │
//!   RUN|PARKED|PAUSED ◀────────▶ RUN|PARKED
//!                   RequestPause
//!                   ReleasePause (last holder)
//!
//!   Kill sets KILLED in any of them; Die leads from any to DEAD; Reincarnate leads from DEAD to NEW.
//! ```

use crate::word::Word;

/// A request that is consumed exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneShot {
    /// Inject a non-maskable interrupt.
    Nmi,
    /// Show the vCPU to a debugger.
    DebugStop,
}

impl OneShot {
    /// Its flag in the word.
    #[must_use]
    pub const fn flag(self) -> u64 {
        match self {
            Self::Nmi => Word::NMI,
            Self::DebugStop => Word::DEBUG_STOP,
        }
    }
}

/// Something that happens to a member. *Owner* is its thread, *anyone* every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Owner: the thread begins its loop; at its park if a pause is requested. Sets RUN
    /// (PARKED, PAUSED).
    Start,
    /// Owner: commits to enter the guest. Sets IN_GUEST.
    Enter,
    /// Owner: is back from the guest. Clears IN_GUEST.
    Leave,
    /// Anyone: one more holder wants it still. Sets PAUSE_REQUESTED (and PAUSED, if it is parked),
    /// counts the holder, begins an epoch.
    RequestPause,
    /// A holder: lets go. Uncounts the holder; the last one clears PAUSE_REQUESTED and PAUSED.
    ReleasePause,
    /// Owner: stands at its park with no exit pending, in answer to the request with this epoch.
    /// Sets PARKED and PAUSED.
    AckPause {
        /// The epoch that the owner saw when it decided to park.
        epoch: u32,
    },
    /// Owner: leaves its park, because nobody holds it. Clears PARKED.
    Unpark,
    /// Anyone: it must leave for good. Sets KILLED.
    Kill,
    /// Owner: has left its loop, or failed to begin it. Sets DEAD; clears RUN, IN_GUEST, PARKED,
    /// PAUSED, ACTIVATION_PENDING and the one-shots.
    Die,
    /// The manager, after joining the thread: the slot may have a new one. Clears DEAD, KILLED and
    /// the one-shots, counts the incarnation. Holders stay: the new thread starts parked.
    Reincarnate,
    /// Owner: a register write left a ticket to wait for. Sets ACTIVATION_PENDING.
    BeginActivation,
    /// Owner: the ticket is done. Clears ACTIVATION_PENDING.
    EndActivation,
    /// Anyone: asks for a one-shot. Sets its flag.
    Ask(OneShot),
    /// Owner: consumes a one-shot. Clears its flag.
    Take(OneShot),
}

/// Why an event cannot happen to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The member was killed.
    #[error("killed")]
    Killed,
    /// The member's thread is gone.
    #[error("dead")]
    Dead,
    /// A pause, kill or one-shot request, or a ticket, keeps it from entering the guest.
    #[error("a request is pending")]
    Requested,
    /// A holder keeps it parked.
    #[error("held by a pauser")]
    Held,
    /// Nobody asked for what is acknowledged, released or consumed.
    #[error("nobody asked for it")]
    NotRequested,
    /// The ack answers an older request.
    #[error("the ack answers an older request")]
    StaleEpoch,
    /// It cannot be held by one more pauser.
    #[error("held by {} pausers already", Word::MAX_HOLDERS)]
    TooManyHolders,
    /// The thread is not where the event happens.
    #[error("not in a state in which that can happen")]
    WrongState,
}

/// What `event` makes of `word`. Pure and total: every word and event has an answer.
pub const fn transition(word: Word, event: Event) -> Result<Word, Illegal> {
    match event {
        Event::RequestPause => request_pause(word),
        Event::ReleasePause => release_pause(word),
        Event::Kill => Ok(word.with(Word::KILLED)),
        Event::Reincarnate => reincarnate(word),
        Event::Ask(one_shot) => ask(word, one_shot),
        // What is left is the owner's.
        _ if word.any(Word::DEAD) => Err(Illegal::Dead),
        Event::Start => start(word),
        Event::Die => Ok(die(word)),
        _ if !word.any(Word::RUN) => Err(Illegal::WrongState),
        Event::Enter => enter(word),
        Event::Leave => clear(word, Word::IN_GUEST),
        Event::AckPause { epoch } => ack_pause(word, epoch),
        Event::Unpark => unpark(word),
        Event::BeginActivation => begin_activation(word),
        Event::EndActivation => clear(word, Word::ACTIVATION_PENDING),
        Event::Take(one_shot) => take(word, one_shot),
    }
}

const fn request_pause(word: Word) -> Result<Word, Illegal> {
    if word.holders() == Word::MAX_HOLDERS {
        return Err(Illegal::TooManyHolders);
    }
    let asked = word.with(Word::PAUSE_REQUESTED).with_holders(word.holders() + 1).next_epoch();
    Ok(if word.any(Word::PARKED) { asked.with(Word::PAUSED) } else { asked })
}

const fn release_pause(word: Word) -> Result<Word, Illegal> {
    match word.holders() {
        0 => Err(Illegal::NotRequested),
        1 => Ok(word.with_holders(0).without(Word::PAUSE_REQUESTED | Word::PAUSED)),
        more => Ok(word.with_holders(more - 1)),
    }
}

const fn reincarnate(word: Word) -> Result<Word, Illegal> {
    if !word.any(Word::DEAD) {
        return Err(Illegal::WrongState);
    }
    Ok(word.without(Word::DEAD | Word::KILLED | Word::ONE_SHOTS).next_incarnation())
}

const fn ask(word: Word, one_shot: OneShot) -> Result<Word, Illegal> {
    if word.any(Word::DEAD) {
        return Err(Illegal::Dead);
    }
    if word.any(Word::KILLED) {
        return Err(Illegal::Killed);
    }
    Ok(word.with(one_shot.flag()))
}

const fn start(word: Word) -> Result<Word, Illegal> {
    if word.any(Word::RUN) {
        return Err(Illegal::WrongState);
    }
    if word.any(Word::KILLED) {
        return Err(Illegal::Killed);
    }
    // A member that starts under a pause never was anything but quiescent.
    Ok(if word.any(Word::PAUSE_REQUESTED) {
        word.with(Word::RUN | Word::PARKED | Word::PAUSED)
    } else {
        word.with(Word::RUN)
    })
}

const fn die(word: Word) -> Word {
    let gone = Word::RUN
        | Word::IN_GUEST
        | Word::PARKED
        | Word::PAUSED
        | Word::ACTIVATION_PENDING
        | Word::ONE_SHOTS;
    word.without(gone).with(Word::DEAD)
}

const fn enter(word: Word) -> Result<Word, Illegal> {
    if word.may_enter() {
        return Ok(word.with(Word::IN_GUEST));
    }
    Err(if word.any(Word::KILLED) {
        Illegal::Killed
    } else if word.any(Word::IN_GUEST | Word::PARKED) {
        Illegal::WrongState
    } else {
        Illegal::Requested
    })
}

const fn ack_pause(word: Word, epoch: u32) -> Result<Word, Illegal> {
    if word.any(Word::KILLED) {
        return Err(Illegal::Killed);
    }
    if word.any(Word::IN_GUEST | Word::PARKED) {
        return Err(Illegal::WrongState);
    }
    if !word.any(Word::PAUSE_REQUESTED) {
        return Err(Illegal::NotRequested);
    }
    if word.epoch() != epoch {
        return Err(Illegal::StaleEpoch);
    }
    Ok(word.with(Word::PARKED | Word::PAUSED))
}

const fn unpark(word: Word) -> Result<Word, Illegal> {
    if word.any(Word::KILLED) {
        return Err(Illegal::Killed);
    }
    if !word.any(Word::PARKED) {
        return Err(Illegal::WrongState);
    }
    if word.any(Word::PAUSE_REQUESTED) {
        return Err(Illegal::Held);
    }
    Ok(word.without(Word::PARKED))
}

const fn begin_activation(word: Word) -> Result<Word, Illegal> {
    if word.any(Word::IN_GUEST | Word::PARKED | Word::ACTIVATION_PENDING) {
        return Err(Illegal::WrongState);
    }
    Ok(word.with(Word::ACTIVATION_PENDING))
}

const fn clear(word: Word, flag: u64) -> Result<Word, Illegal> {
    if word.any(flag) { Ok(word.without(flag)) } else { Err(Illegal::WrongState) }
}

const fn take(word: Word, one_shot: OneShot) -> Result<Word, Illegal> {
    if word.any(Word::KILLED) {
        return Err(Illegal::Killed);
    }
    if word.any(one_shot.flag()) {
        Ok(word.without(one_shot.flag()))
    } else {
        Err(Illegal::NotRequested)
    }
}
