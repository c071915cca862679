//! Power-off and reset as the guest asks for them: a note for the manager, and a ticket for the asker.
//!
//! ```text
//!   none ──request──▶ asked (shutdown beats reset) ──taken by the manager──▶ the VM ends
//! ```
//!
//! The vCPU that asked, and every other that writes a register afterwards, waits for the ticket
//! in its own word, which a pause or kill ends: nobody spins in a reset register.

use devices::power::{PowerRequest, PowerSink};
use devices::pvpanic::{GuestPanic, PanicSink};
use vcpu_state::Ticket;
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::control::Inbox;

const RESET: u32 = 1;
const SHUTDOWN: u32 = 2;

/// Requests of one VM, from its build to its end.
pub struct PowerRequests {
    asked: AtomicU32,
    panicked: AtomicBool,
    ticket: Ticket,
    inbox: Arc<Inbox>,
}

impl PowerRequests {
    /// Nothing asked. The ticket gets done when the VM goes away; the inbox is woken by a request.
    #[must_use]
    pub fn new(ticket: Ticket, inbox: Arc<Inbox>) -> Self {
        Self { asked: AtomicU32::new(0), panicked: AtomicBool::new(false), ticket, inbox }
    }

    /// What has been asked, if anything. It stays asked: the VM ends by it.
    #[must_use]
    pub fn asked(&self) -> Option<PowerRequest> {
        // Acquire: pairs with the release in `request`.
        match self.asked.load(Ordering::Acquire) {
            0 => None,
            RESET => Some(PowerRequest::Reset),
            _ => Some(PowerRequest::Shutdown),
        }
    }

    /// Whether the guest's kernel has said that it crashed, since the last call.
    pub fn take_panic(&self) -> bool {
        // Acquire: pairs with the release in `report`.
        self.panicked.swap(false, Ordering::AcqRel)
    }

    /// What a vCPU has to wait for now.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.asked().map(|_| self.ticket.clone())
    }
}

impl PowerSink for PowerRequests {
    fn request(&self, request: PowerRequest) {
        let bit = match request {
            PowerRequest::Reset => RESET,
            PowerRequest::Shutdown => SHUTDOWN,
        };
        // AcqRel: pairs with the acquire in `asked`.
        if self.asked.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.inbox.wake();
        }
    }
}

impl PanicSink for PowerRequests {
    fn report(&self, panic: GuestPanic) {
        if panic == GuestPanic::Panicked {
            // Release: pairs with the acquire in `take_panic`.
            self.panicked.store(true, Ordering::Release);
            self.inbox.wake();
        }
    }
}
