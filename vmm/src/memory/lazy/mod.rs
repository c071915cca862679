//! RAM of a VM that runs before all of its pages are there.
//!
//! ```text
//!            watch                 go_live                    all pages placed
//!   whole ───────▶ EARLY ─────────────────────▶ LIVE ───────────────────────────▶ whole
//!                    │ fail                      │ fail ──▶ the VM ends by an error, named in `last_error`
//!                    └──▶ FAILED: it never goes live          ├─▶ given up: who waits, and whoever comes, gets an error
//!                                         the VM is ended ───┘
//! ```
//!
//! Where pages come from is the business of others: a snapshot ([`PageServer`]), or the other end of a migration. A page that cannot be had must
//! neither become zeros nor keep a thread for ever:
//! - Before the VM may run nothing of it can do harm: who waits gets zeros, so that it comes back, and the VM is discarded.
//! - Afterwards the VM ends, as it does when its user ends it. What has not come is given up then ([`LazyRam::give_up`]), in this order:
//!
//! ```text
//!   words KILLED ─▶ no exit is dispatched any more ─▶ nobody is handed a page that is missing ─▶ nobody places one ─▶ holes become inaccessible ─▶ waiters wake
//! ```
//!
//! Nobody ever finds zeros instead of such a page. A vCPU's KVM_RUN returns EFAULT (or an exit of an instruction that KVM emulated without
//! its operand, which is not dispatched), a system call EFAULT, and so an I/O error that nobody sees; a worker's access is refused before it touches the page
//! ([`devices::memory::GuestRegion`]). Whoever is left in the kernel for longer finds no zeros either: the pages stay inaccessible when the watch ends.
//!
//! While pages are missing, what reads the memfd reads holes. So [`MigrationMemory`](super::MigrationMemory) reads through the mapping until then, and what is
//! given back to the host is filled with zeros instead.

mod gate;
mod holes;
mod ram;
mod server;

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use vcpu_state::sync::atomic::{AtomicU8, AtomicU64, Ordering};

pub(crate) use ram::{Counted, Failure, LazyRam};
pub(crate) use server::PageServer;

/// What has not come will not come, and no vCPU acts on anything any more.
const GIVEN_UP: u8 = 1;
/// Nobody touches it any more.
const STOPPED: u8 = 2;

/// What is still to come of some RAM, and what its user says of it.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pages: AtomicU64,
    flags: AtomicU8,
    /// Rung when a flag is raised, and when whoever brings pages is to look around.
    bell: OnceLock<OwnedFd>,
}

impl Missing {
    /// Pages.
    pub(super) fn pages(&self) -> u64 {
        // Acquire: pairs with `set_pages` and `arrived`: who finds none missing finds all in the memfd.
        self.pages.load(Ordering::Acquire)
    }

    fn set_pages(&self, pages: u64) {
        self.pages.store(pages, Ordering::Release);
    }

    /// Pages that hold something have been placed. The last one is missing until the watch has ended.
    fn arrived(&self, pages: u64) {
        let rest = |now: u64| Some(now.saturating_sub(pages).max(1));
        // Never fails.
        let _ = self.pages.fetch_update(Ordering::Release, Ordering::Relaxed, rest);
    }

    fn has(&self, flag: u8) -> bool {
        // Acquire: pairs with `raise`; what was done before is seen.
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    /// Whether it had not been raised.
    fn raise(&self, flag: u8) -> bool {
        // Release: pairs with `has`.
        let before = self.flags.fetch_or(flag, Ordering::Release);
        self.ring();
        before & flag == 0
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            // Fails only if it is readable already.
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }

    /// What has not come will not come. What vCPUs and others find from here on means nothing.
    #[inline]
    pub(super) fn is_given_up(&self) -> bool {
        self.has(GIVEN_UP)
    }
}

#[cfg(test)]
mod tests;
