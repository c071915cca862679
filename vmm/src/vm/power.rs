//! Power-off, reset and crash as the guest asks for them or tells of them: a note for the owner, and a ticket for the asker.
//!
//! ```text
//!   none ──request──▶ asked (power-off beats reset, reset beats the watchdog) ──taken by the owner──▶ the VM ends
//!   none ──report──▶ told ──taken by the owner──▶ none
//! ```
//!
//! All is bits of one word, set by read-modify-writes. The vCPU that asked, and every other that writes a register afterwards, waits for the
//! ticket in its own word, which a pause or kill ends: nobody spins in a reset register. What is asked stays asked
//! until the VM ends, so it does not matter in which phase the owner sees it first.

use devices::power::{PowerRequest, PowerSink};
use devices::pvpanic::{GuestPanic, PanicSink};
use devices::watchdog::WatchdogSink;
use serde::{Deserialize, Serialize};
use vcpu_state::Ticket;
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU32, Ordering};

use crate::control::GuestEvent;

const POWER_OFF: u32 = 1 << 0;
const RESET: u32 = 1 << 1;
const EXPIRED: u32 = 1 << 2;
const PANICKED: u32 = 1 << 3;
const CRASH_LOADED: u32 = 1 << 4;

/// What ends the VM.
const ASKED: u32 = POWER_OFF | RESET | EXPIRED;

/// What the guest has asked for or told, and the owner has not taken: as it is saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "what is saved has names, not bits")]
pub(super) struct Noted {
    power_off: bool,
    reset: bool,
    /// The watchdog's time is over.
    expired: bool,
    panicked: bool,
    crash_loaded: bool,
}

/// Whoever looks at what was asked.
pub trait Bell: Send + Sync {
    /// Makes them look. Called by vCPUs: never blocks.
    fn ring(&self);
}

/// Requests and reports of one VM, from its build to its end.
pub struct PowerRequests {
    noted: AtomicU32,
    ticket: Ticket,
    bell: Arc<dyn Bell>,
}

impl PowerRequests {
    /// Nothing asked. The ticket gets done when the VM goes away; the bell is rung by a request.
    #[must_use]
    pub fn new(ticket: Ticket, bell: Arc<dyn Bell>) -> Self {
        Self { noted: AtomicU32::new(0), ticket, bell }
    }

    /// What has been asked, if anything. It stays asked: the VM ends by it.
    #[must_use]
    pub fn asked(&self) -> Option<GuestEvent> {
        // Acquire: pairs with the release in `note`.
        let noted = self.noted.load(Ordering::Acquire);
        [
            (POWER_OFF, GuestEvent::PowerOff),
            (RESET, GuestEvent::Reset),
            (EXPIRED, GuestEvent::WatchdogExpired),
        ]
        .into_iter()
        .find(|(bit, _)| noted & bit != 0)
        .map(|(_, event)| event)
    }

    /// What the guest's kernel has said of a crash since the last call, the worst of it.
    #[must_use]
    pub fn take_panic(&self) -> Option<GuestEvent> {
        // Every request looks here, and there is nearly always nothing. Acquire: pairs with the release in `note`.
        if self.noted.load(Ordering::Acquire) & (PANICKED | CRASH_LOADED) == 0 {
            return None;
        }
        // AcqRel: as above; of two that look, one gets it.
        let noted = self.noted.fetch_and(!(PANICKED | CRASH_LOADED), Ordering::AcqRel);
        if noted & PANICKED != 0 {
            Some(GuestEvent::Panicked)
        } else {
            (noted & CRASH_LOADED != 0).then_some(GuestEvent::CrashLoaded)
        }
    }

    /// All of it, for a save.
    pub(super) fn noted(&self) -> Noted {
        // Acquire: pairs with the release in `note`.
        let noted = self.noted.load(Ordering::Acquire);
        let is = |bit| noted & bit != 0;
        Noted {
            power_off: is(POWER_OFF),
            reset: is(RESET),
            expired: is(EXPIRED),
            panicked: is(PANICKED),
            crash_loaded: is(CRASH_LOADED),
        }
    }

    /// Notes what another VM's guest had asked for or told.
    pub(super) fn note_all(&self, noted: Noted) {
        let Noted { power_off, reset, expired, panicked, crash_loaded } = noted;
        let all = [
            (power_off, POWER_OFF),
            (reset, RESET),
            (expired, EXPIRED),
            (panicked, PANICKED),
            (crash_loaded, CRASH_LOADED),
        ];
        for (_, bit) in all.into_iter().filter(|(is, _)| *is) {
            self.note(bit);
        }
    }

    /// What a vCPU has to wait for now.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        // Relaxed: a vCPU that asked sees its own bit; one that sees another's late goes on until its next write.
        (self.noted.load(Ordering::Relaxed) & ASKED != 0).then(|| self.ticket.clone())
    }

    fn note(&self, bit: u32) {
        // AcqRel: pairs with the acquire in `asked` and `take_panic`.
        if self.noted.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.bell.ring();
        }
    }
}

impl PowerSink for PowerRequests {
    fn request(&self, request: PowerRequest) {
        self.note(match request {
            PowerRequest::Reset => RESET,
            PowerRequest::Shutdown => POWER_OFF,
        });
    }
}

impl PanicSink for PowerRequests {
    fn report(&self, panic: GuestPanic) {
        self.note(match panic {
            GuestPanic::Panicked => PANICKED,
            GuestPanic::CrashLoaded => CRASH_LOADED,
        });
    }
}

impl WatchdogSink for PowerRequests {
    fn expired(&self) {
        self.note(EXPIRED);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use vcpu_state::sync::atomic::AtomicU64;
    use vcpu_state::{Group, Kick};

    use super::*;

    struct NoKick;

    impl Kick for NoKick {
        fn kick(&self, _: usize) {}
    }

    #[derive(Default)]
    struct Rings(AtomicU64);

    impl Bell for Rings {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn requests() -> (PowerRequests, Arc<Rings>) {
        let rings = Arc::new(Rings::default());
        let (ticket, _) = Ticket::new(&Group::new(1, Box::new(NoKick)));
        (PowerRequests::new(ticket, Arc::<Rings>::clone(&rings)), rings)
    }

    #[test]
    fn what_weighs_more_is_done_whatever_came_first() {
        type Ask = (GuestEvent, fn(&PowerRequests));
        let ask: [Ask; 3] = [
            (GuestEvent::PowerOff, |requests| requests.request(PowerRequest::Shutdown)),
            (GuestEvent::Reset, |requests| requests.request(PowerRequest::Reset)),
            (GuestEvent::WatchdogExpired, WatchdogSink::expired),
        ];
        for (first, (_, one)) in ask.iter().enumerate() {
            for (second, (_, other)) in ask.iter().enumerate() {
                let (requests, rings) = requests();
                assert_eq!(requests.asked(), None);
                assert!(requests.ticket().is_none());
                one(&requests);
                other(&requests);
                assert_eq!(requests.asked(), Some(ask[first.min(second)].0));
                assert_eq!(requests.asked(), Some(ask[first.min(second)].0), "it stays asked");
                assert!(requests.ticket().is_some());
                let different = if first == second { 1 } else { 2 };
                assert_eq!(rings.0.load(Ordering::Relaxed), different);
            }
        }
    }

    #[test]
    fn a_crash_is_told_once_and_asks_for_nothing() {
        let (requests, rings) = requests();
        requests.report(GuestPanic::CrashLoaded);
        requests.report(GuestPanic::Panicked);
        assert!(requests.asked().is_none() && requests.ticket().is_none());
        assert_eq!(requests.take_panic(), Some(GuestEvent::Panicked));
        assert_eq!(requests.take_panic(), None);
        requests.report(GuestPanic::CrashLoaded);
        assert_eq!(requests.take_panic(), Some(GuestEvent::CrashLoaded));
        assert_eq!(rings.0.load(Ordering::Relaxed), 3);
    }
}
