//! What a guest does by itself, and what follows from it in each phase of the VM.
//!
//! | event | vCPUs run | asked to stop, or not begun yet | stand still | leave, or are in doubt | end, or are none |
//! |---|---|---|---|---|---|
//! | power-off | end | keep | keep | keep | void |
//! | reset, watchdog | restart | keep | keep | keep | void |
//! | a vCPU cannot go on | end | keep | end | keep | void |
//! | panic, crash kernel, ejection | note | note | note | note | void |
//!
//! *Keep*: the event stays asked (a bit in [`PowerRequests`](crate::vm::PowerRequests), a message in the inbox) and is looked at again when the
//! phase has changed. A VM that stands still goes on first: for its guest time stands still, its wishes included. So no phase makes
//! an event an error, and none loses one but with the VM that it came from.
//!
//! What is kept while a VM leaves is a part of its state: it is carried out at the other end, or here if the VM stays.
//!
//! A VM that is being resumed, resized or given devices is in one of these phases all the while, and so is one whose vCPUs
//! somebody else holds (a throttle, a copy of its memory that is being sent): the event ends the words that they hold, which counts as
//! an answer, and a hold on an ended word opens nothing.

use super::{Move, Phase};

/// Something that the guest does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestEvent {
    /// It switches itself off (ACPI S5), or KVM says that it does.
    PowerOff,
    /// It resets itself: the ACPI register, the keyboard controller, a triple fault.
    Reset,
    /// It has left its watchdog alone for too long.
    WatchdogExpired,
    /// Its kernel says that it has crashed.
    Panicked,
    /// The same, and that another kernel takes over.
    CrashLoaded,
    /// A vCPU came to what the VMM cannot carry out.
    VcpuFailed,
    /// It has let go of a device.
    Ejected,
}

impl GuestEvent {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::PowerOff,
        Self::Reset,
        Self::WatchdogExpired,
        Self::Panicked,
        Self::CrashLoaded,
        Self::VcpuFailed,
        Self::Ejected,
    ];
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// It is noted, and the VM stays as it is.
    Note,
    /// The VM ends.
    End,
    /// The VM ends and begins anew, in place.
    Restart,
    /// Nothing yet: it is looked at again when the phase has changed.
    Keep,
    /// Nothing: there is no guest any longer that it could be about.
    Void,
}

impl Consequence {
    /// The moves that carry it out, in order.
    #[must_use]
    pub const fn moves(self) -> &'static [Move] {
        match self {
            Self::End => &[Move::Stop, Move::Done],
            Self::Restart => &[Move::Stop, Move::Done, Move::Boot, Move::Done],
            Self::Note | Self::Keep | Self::Void => &[],
        }
    }
}

impl Phase {
    /// What follows from an event that is seen in this phase. Pure and total.
    #[must_use]
    pub const fn after(self, event: GuestEvent) -> Consequence {
        use GuestEvent as Event;
        match (self, event) {
            (Self::NotCreated | Self::Created | Self::Stopping | Self::Shutdown, _) => {
                Consequence::Void
            }
            (_, Event::Panicked | Event::CrashLoaded | Event::Ejected) => Consequence::Note,
            (
                Self::Booting | Self::Pausing | Self::Restoring | Self::Leaving | Self::Doubtful,
                _,
            )
            | (Self::Paused, Event::PowerOff | Event::Reset | Event::WatchdogExpired) => {
                Consequence::Keep
            }
            (Self::Running, Event::Reset | Event::WatchdogExpired) => Consequence::Restart,
            (Self::Running, Event::PowerOff)
            | (Self::Running | Self::Paused, Event::VcpuFailed) => Consequence::End,
        }
    }
}
