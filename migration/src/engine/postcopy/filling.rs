//! Pages that come to a VM that runs already, or is about to.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::POSTPONED;
use super::memory::{Fault, LazyMemory};
use super::pages::SharedPages;
use crate::memory::{DestinationMemory, Layout, PAGE_SIZE, PageSet, Run};
use crate::wire::{
    Connection, Frame, Mark, Message, Pages, Transport, Unpacker, WireError, unexpected,
};

/// What the connections of a destination share.
pub(super) struct Filling {
    memory: Arc<dyn LazyMemory>,
    /// Those that have not come yet.
    to_come: SharedPages,
    /// Those that are not in their places yet.
    missing: SharedPages,
    /// Connections that may bring some.
    open: AtomicUsize,
    /// The VM has ended: nothing more is needed.
    is_over: AtomicBool,
    /// Why it cannot be gone on with.
    failed: OnceLock<String>,
}

impl Filling {
    pub(super) fn new(
        memory: Arc<dyn LazyMemory>,
        (layout, missing): (&Layout, &PageSet),
        connections: usize,
    ) -> Self {
        Self {
            memory,
            open: AtomicUsize::new(connections),
            to_come: SharedPages::new(layout, missing),
            missing: SharedPages::new(layout, missing),
            is_over: AtomicBool::new(false),
            failed: OnceLock::new(),
        }
    }

    /// Asks for pages that somebody waits for, until none is missing; then sees to those who wait in vain, if there are any.
    pub(super) fn ask<T: Transport>(
        &self,
        requests: &mut Connection<T>,
        beat: Duration,
        interrupt: &dyn Fn(),
    ) {
        if let Err(error) = self.ask_for_all(requests, beat) {
            self.fail(&error);
        }
        if self.is_over() || self.failure().is_some() {
            interrupt();
        }
        if let Some(why) = self.failure() {
            self.memory.fail(why);
        }
    }

    fn ask_for_all<T: Transport>(
        &self,
        requests: &mut Connection<T>,
        beat: Duration,
    ) -> Result<(), WireError> {
        while self.missing.left() > 0 && self.failure().is_none() {
            let fault = self.memory.next_fault(beat);
            match fault.map_err(|error| WireError::Io(io::Error::other(error)))? {
                Fault::Page(page) if self.missing.contains(page) => {
                    requests.send(Message::Need { page })?;
                }
                Fault::Page(page) => self.memory.settle(page)?,
                Fault::Nobody => requests.send(Message::Beat)?,
                Fault::Over => {
                    // Release: pairs with `is_over`.
                    self.is_over.store(true, Ordering::Release);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes pages until the mark.
    pub(super) fn take_all<T: Transport>(&self, pages: &mut Connection<T>, interrupt: &dyn Fn()) {
        let mut unpacker = Unpacker::default();
        let taken = loop {
            match pages.receive("pages").and_then(|frame| self.take(&frame, &mut unpacker)) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = taken
            && !self.is_over()
        {
            self.fail(&error);
            interrupt();
        }
        // AcqRel: the last one sees what the others have placed.
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 && self.missing() > 0 && !self.is_over() {
            self.fail(&"the source says that it has sent all of it");
        }
        // Who asks for pages looks whether any is missing.
        self.memory.ring();
    }

    /// Whether it was the mark.
    fn take(&self, frame: &Frame<'_>, unpacker: &mut Unpacker) -> Result<bool, WireError> {
        match frame {
            Frame::Message(Message::Beat) => {}
            Frame::Data(pages, compression, body) if pages.round == POSTPONED => {
                self.claim(*pages)?;
                pages.write(self, (*compression, body), unpacker)?;
            }
            Frame::Zeros(pages) if pages.round == POSTPONED => {
                self.claim(*pages)?;
                pages.zero(self)?;
            }
            Frame::Mark(Mark { round: POSTPONED, is_last: true }) => return Ok(true),
            other => return Err(unexpected(other, "pages that are missing")),
        }
        Ok(false)
    }

    /// Whoever claims pages is the only one that ever does.
    fn claim(&self, pages: Pages) -> Result<(), WireError> {
        let run = self.layout().run(pages.first, pages.count);
        let is_due = |run: Run| (run.first()..run.end()).all(|page| self.to_come.take(page));
        let what = || {
            format!("{} pages at page {}, not all of which are missing", pages.count, pages.first)
        };
        let is_due = run.is_some_and(is_due);
        if is_due { Ok(()) } else { Err(WireError::Malformed { what: what() }) }
    }

    fn arrived(&self, run: Run) {
        for page in run.first()..run.end() {
            self.missing.take(page);
        }
    }

    /// It cannot be gone on, for this reason. The first one stands.
    pub(super) fn fail(&self, why: &dyn std::fmt::Display) {
        let _ = self.failed.set(why.to_string());
        self.memory.ring();
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// How many pages are missing.
    pub(super) fn missing(&self) -> u64 {
        self.missing.left()
    }
}

impl DestinationMemory for Filling {
    fn layout(&self) -> &Layout {
        self.missing.layout()
    }

    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        let run = self.layout().run(first, (pages.len() / PAGE_SIZE) as u64);
        let run = run.ok_or(io::ErrorKind::InvalidInput)?;
        self.memory.place(first, pages)?;
        self.arrived(run);
        Ok(())
    }

    fn zero(&self, run: Run) -> io::Result<()> {
        self.memory.place_zeros(run)?;
        self.arrived(run);
        Ok(())
    }
}
