//! The lifecycle of a vCPU as one atomic word, and pause, resume and kill of groups of them.
//!
//! # The model, in three parts
//!
//! 1. **The word** ([`Word`]): all that anybody needs to know about one member (a vCPU thread or a
//!    device worker) in one `AtomicU64`. It changes by compare-and-swap only, and only along
//!    [`transition`], a pure, total, `const` function of the old word and an [`Event`].
//! 2. **The group** ([`Group`]): the words of a VM. Pausing it is *signal-all, then wait-all*:
//!    [`Group::signal_all`] returns a [`Pending`] that must be waited for,
//!    [`Pending::wait_all`] returns a [`Quiesced`]. Nobody else can make one, and dropping it resumes.
//! 3. **The member** ([`Member`]): the owner's end. The thread asks [`Member::next`] what to do,
//!    enters the guest only through [`Member::enter`], and dies, panics included, by dropping it.
//!
//! # Promises, each a property that `tests/transition.rs` checks over every word and event
//!
//! * `killed-for-good`: KILLED and DEAD are never left, except by `Reincarnate`, which only a DEAD word takes.
//! * `paused-not-in-guest`: PAUSED and PARKED exclude IN_GUEST.
//! * `paused-is-parked-and-asked`: PAUSED holds exactly when PARKED and PAUSE_REQUESTED do.
//! * `asked-is-held`: PAUSE_REQUESTED holds exactly when at least one holder does.
//! * `no-entry-when-asked`: IN_GUEST is set only in a word with no pause, kill or one-shot request.
//! * `stale-ack-inert`: an ack with an epoch other than the word's changes nothing.
//! * `quiet-stays-quiet`: while a pause is requested, no event makes a quiescent word not quiescent.
//! * `one-shot-once`: taking a one-shot clears it, and taking it again is illegal.
//! * `dead-is-quiet`: DEAD and not-yet-started words are quiescent.
//! * `pause-always-lands`: requesting a pause is legal in every coherent word with a holder to spare.
//! * `kill-always-lands`: killing is legal in every coherent word.
//! * `coherent-closed`: a legal event makes a coherent word out of a coherent word.
//! * `bystanders-untouched`: an event changes no field that its documentation does not name.
//!
//! # What waits on what
//!
//! Waiting is a futex wait on a generation word ([`sync::FutexWord`]), one for parked members, one
//! for members that wait for a [`Ticket`], one countdown for acknowledgements. The waiter reads the
//! generation *before* it looks at its word; whoever changes a word bumps the generation *after*; so
//! the kernel's comparison closes the gap and no wake-up can be lost.
#![forbid(unsafe_code)]

mod event;
mod group;
mod member;
pub mod sync;
pub mod throttle;
mod ticket;
mod word;
mod work;

pub use event::{Event, Illegal, OneShot, transition};
pub use group::{
    Awaited, Deadline, Group, Kick, NotDone, PauseError, PauseParts, Pending, PendingRange,
    Quiesced, QuiescedRange, Released, Resumed, Stuck, StuckMember, TooManyHolders,
};
pub use member::{Member, Parked, Step, Waited};
pub use ticket::{Completer, Outcome, Ticket};
pub use word::Word;
pub use work::{Attendant, Round, WorkItem};
