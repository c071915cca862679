//! One transfer, as its worker, the owner of the VM and all others see it.
//!
//! ```text
//!   OPEN ──end──▶ ENDED         one compare-and-swap decides: it is ended in time, or nothing can end it any more
//!     └───commit──▶ COMMITTED
//! ```
//!
//! What is sent has its gate in the engine, whose `Handle` decides about the commit; the others have theirs here. Nothing here waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_queue::SegQueue;
use migration::engine::{Handle, Report};
use migration::wire::Interrupter;
use rustix::event::{EventfdFlags, eventfd};
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use super::progress::{TransferKind, TransferState};

const OPEN: u8 = 0;
const ENDED: u8 = 1;
const COMMITTED: u8 = 2;

/// It cannot be ended any more: the VM is being handed over, or the snapshot is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLate;

/// What a transfer came to.
#[derive(Debug)]
pub(super) enum Result {
    Completed(Option<Box<Report>>),
    Failed(String),
    Cancelled(String),
    InDoubt(String),
}

/// A transfer, from its beginning on.
pub(crate) struct Transfer {
    kind: TransferKind,
    /// The directory, or the other end.
    place: String,
    pub(super) handle: Handle,
    gate: AtomicU8,
    why_ended: OnceLock<String>,
    /// Readable when it was ended.
    bell: OwnedFd,
    interrupters: SegQueue<Interrupter>,
    begun: Instant,
    /// How far one is that the engine knows nothing of.
    stage: AtomicU8,
    memory_bytes: AtomicU64,
    done_bytes: AtomicU64,
    result: ArcSwapOption<(Result, Duration)>,
}

impl Transfer {
    /// One that has not begun.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub(super) fn new(kind: TransferKind, place: String) -> io::Result<Self> {
        Ok(Self {
            kind,
            place,
            handle: Handle::new(),
            gate: AtomicU8::new(OPEN),
            why_ended: OnceLock::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            interrupters: SegQueue::new(),
            begun: Instant::now(),
            stage: AtomicU8::new(TransferState::Connecting as u8),
            memory_bytes: AtomicU64::new(0),
            done_bytes: AtomicU64::new(0),
            result: ArcSwapOption::empty(),
        })
    }

    pub(crate) fn kind(&self) -> TransferKind {
        self.kind
    }

    /// The directory, or the other end.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Ends it, for this reason: soon the VM is as it was before, or was never there.
    ///
    /// # Errors
    /// It is too late.
    pub(crate) fn end(&self, why: &str) -> std::result::Result<(), TooLate> {
        // The first reason stands. Before the gate, so that who finds it closed finds the reason.
        let _ = self.why_ended.set(why.to_owned());
        if self.kind == TransferKind::Send {
            self.handle.cancel().map_err(|_| TooLate)?;
            // Release: with it, the reason.
            self.gate.store(ENDED, Ordering::Release);
        } else {
            // AcqRel: one order with `commit`.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.gate.compare_exchange(OPEN, ENDED, success, failure) {
                Ok(_) | Err(ENDED) => {}
                Err(_) => return Err(TooLate),
            }
        }
        // Fails only if it is readable already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        // Pairs with the fence of `interrupted_by`: either this finds the connection, or that finds the end.
        fence(Ordering::SeqCst);
        self.interrupt();
        Ok(())
    }

    /// From here on nothing ends it; whether nothing has before.
    pub(super) fn commit(&self) -> bool {
        // AcqRel: one order with `end`.
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.gate.compare_exchange(OPEN, COMMITTED, success, failure).is_ok()
    }

    /// Why it was ended, if it was.
    pub(super) fn why_ended(&self) -> Option<&str> {
        // Acquire: pairs with `end`.
        let is_ended = self.gate.load(Ordering::Acquire) == ENDED;
        is_ended.then(|| self.reason())
    }

    /// Why somebody wanted it to end.
    pub(super) fn reason(&self) -> &str {
        self.why_ended.get().map_or("it was cancelled", String::as_str)
    }

    /// What becomes readable when it is ended.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// An end interrupts by this, too.
    pub(super) fn interrupted_by(&self, interrupter: Interrupter) {
        self.interrupters.push(interrupter);
        fence(Ordering::SeqCst);
        if self.why_ended().is_some() {
            self.interrupt();
        }
    }

    /// The connections that there were are of no use any more: what interrupts them would keep them open.
    pub(super) fn forget_connections(&self) {
        while self.interrupters.pop().is_some() {}
    }

    fn interrupt(&self) {
        while let Some(interrupt) = self.interrupters.pop() {
            interrupt();
        }
    }

    /// It has come so far.
    pub(super) fn reach(&self, stage: TransferState) {
        // Relaxed, as those below: each number is right by itself.
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn set_memory(&self, bytes: u64) {
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_done(&self, bytes: u64) {
        self.done_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_done(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The operator says that the VM is at the other end.
    pub(crate) fn settle_as_moved(&self) {
        self.settle(Result::Completed(None));
    }

    /// The operator says that the VM is here.
    pub(crate) fn settle_as_kept(&self) {
        self.settle(Result::Failed("it was in doubt; the operator kept the VM here".to_owned()));
    }

    /// It came to this.
    pub(super) fn settle(&self, result: Result) {
        self.result.store(Some(Arc::new((result, self.begun.elapsed()))));
    }

    pub(super) fn stage(&self) -> u8 {
        self.stage.load(Ordering::Relaxed)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn done_bytes(&self) -> u64 {
        self.done_bytes.load(Ordering::Relaxed)
    }

    /// What it came to, and after how long.
    pub(super) fn result(&self) -> Option<Arc<(Result, Duration)>> {
        self.result.load_full()
    }

    /// Since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_and_the_point_of_no_return_exclude_each_other() {
        let new = || Transfer::new(TransferKind::Snapshot, "/x".to_owned()).unwrap();
        let ended = new();
        assert_eq!(ended.why_ended(), None);
        ended.end("first").unwrap();
        ended.end("second").unwrap();
        assert_eq!(ended.why_ended(), Some("first"));
        assert!(!ended.commit());
        let committed = new();
        assert!(committed.commit());
        assert_eq!(committed.end("late"), Err(TooLate));
        assert_eq!(committed.why_ended(), None);
    }

    #[test]
    fn what_interrupts_is_called_whether_it_came_before_the_end_or_after() {
        for kind in [TransferKind::Send, TransferKind::Receive] {
            let transfer = Transfer::new(kind, String::new()).unwrap();
            let calls = std::sync::Arc::new(AtomicU64::new(0));
            let interrupter = || {
                let calls = std::sync::Arc::clone(&calls);
                Box::new(move || {
                    calls.fetch_add(1, Ordering::Relaxed);
                })
            };
            transfer.interrupted_by(interrupter());
            assert_eq!(calls.load(Ordering::Relaxed), 0);
            transfer.end("over").unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), 1);
            transfer.interrupted_by(interrupter());
            assert_eq!(calls.load(Ordering::Relaxed), 2);
            assert_eq!(transfer.why_ended(), Some("over"));
            assert_eq!(transfer.why_ended(), Some("over"), "it stays ended");
        }
    }
}
