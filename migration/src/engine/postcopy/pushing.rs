//! Sending the pages of a VM that is the destination's already, or is about to be.

use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;
use vcpu_state::sync::FutexWord;
use vcpu_state::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::POSTPONED;
use super::memory::Lent;
use super::pages::SharedPages;
use crate::memory::{PageSet, Run, SourceMemory};
use crate::wire::{
    Compression, Connection, Frame, MAX_PAGES, Mark, Message, PageWriter, Transport, WireError,
    unexpected_message,
};

/// Pages that are sent together with one that somebody waits for.
const TOGETHER: u64 = 16;
/// Pages that are sent at once for nobody in particular.
const PIECE: u64 = 64;

/// What the connections of a source share.
pub(super) struct Pushing {
    memory: Lent,
    unsent: SharedPages,
    /// Those that nobody has asked for yet: each is asked for once.
    unasked: SharedPages,
    wanted: SegQueue<u64>,
    /// Where the search for the next page begins.
    cursor: AtomicU64,
    has_failed: AtomicBool,
    /// Advances when a page is wanted, or none is left.
    bell: FutexWord,
}

/// Which pages a connection carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those that somebody waits for.
    Urgent,
    /// All others: on a connection that is full of them, a page that somebody waits for would come behind them.
    Any,
}

impl Pushing {
    pub(super) fn new(memory: Lent, missing: &PageSet) -> Self {
        let layout = memory.layout().clone();
        Self {
            memory,
            unsent: SharedPages::new(&layout, missing),
            unasked: SharedPages::new(&layout, missing),
            wanted: SegQueue::new(),
            cursor: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            bell: FutexWord::new(0),
        }
    }

    /// Takes requests until the connection ends, which it does when all is over.
    pub(super) fn listen<T: Transport>(&self, requests: &mut Connection<T>) -> WireError {
        loop {
            match requests.message("what is needed") {
                Ok(Message::Beat) => {}
                Ok(Message::Need { page }) if page < self.unsent.layout().pages() => {
                    // Asked for again, or sent already: it is on its way.
                    if self.unasked.take(page) && self.unsent.contains(page) {
                        self.wanted.push(page);
                        self.bell.advance();
                    }
                }
                Ok(Message::Need { page }) => {
                    let what = format!("a request for page {page}, which the VM does not have");
                    return WireError::Malformed { what };
                }
                Ok(other) => return unexpected_message(&other, "what is needed"),
                Err(error) => return error,
            }
        }
    }

    /// Sends pages until all are sent, then the mark.
    pub(super) fn push<T: Transport>(
        &self,
        to: &mut Connection<T>,
        (kind, compression): (Kind, Compression),
        beat: Duration,
    ) -> Result<(), WireError> {
        let pushed = self.push_all(to, (kind, compression), beat);
        if pushed.is_err() {
            self.fail();
        }
        pushed
    }

    fn push_all<T: Transport>(
        &self,
        to: &mut Connection<T>,
        (kind, compression): (Kind, Compression),
        beat: Duration,
    ) -> Result<(), WireError> {
        let mut writer = PageWriter::new(compression);
        let mut last_beat = Instant::now();
        while self.unsent.left() > 0 && !self.has_failed() {
            let bell = self.bell.load();
            let Some(run) = self.next(kind) else {
                if self.unsent.left() > 0 && !self.has_failed() {
                    self.bell.wait(bell, Some(beat.saturating_sub(last_beat.elapsed())));
                }
                if last_beat.elapsed() >= beat {
                    to.send(Message::Beat)?;
                    last_beat = Instant::now();
                }
                continue;
            };
            writer.send(to, &self.memory, (POSTPONED, run))?;
            to.flush()?;
            last_beat = Instant::now();
        }
        if self.has_failed() {
            return Err(WireError::Closed { waiting_for: "the other connections" });
        }
        // Nobody has anything to send any more.
        self.bell.advance();
        to.queue(&Frame::Mark(Mark { round: POSTPONED, is_last: true }))?;
        to.flush()
    }

    /// The pages that are to be sent next.
    fn next(&self, kind: Kind) -> Option<Run> {
        match kind {
            Kind::Urgent => self.next_wanted(),
            Kind::Any => self.next_in_order(),
        }
    }

    fn next_wanted(&self) -> Option<Run> {
        loop {
            if let Some(run) = self.unsent.take_run(self.wanted.pop()?, TOGETHER) {
                return Some(run);
            }
        }
    }

    fn next_in_order(&self) -> Option<Run> {
        loop {
            // Relaxed: where to begin, and nothing else; whose a page is the set decides.
            let first = self.unsent.first_at(self.cursor.load(Ordering::Relaxed))?;
            self.cursor.fetch_max(first, Ordering::Relaxed);
            if let Some(run) = self.unsent.take_run(first, PIECE.min(MAX_PAGES)) {
                return Some(run);
            }
        }
    }

    /// Nothing more is to be sent.
    pub(super) fn fail(&self) {
        // Release: pairs with `has_failed`.
        self.has_failed.store(true, Ordering::Release);
        self.bell.advance();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ModelMemory;

    #[test]
    fn a_page_that_somebody_waits_for_is_put_behind_no_others() {
        let memory = ModelMemory::of_pages(256).unwrap();
        let all = SourceMemory::layout(&memory).all();
        let mut missing = PageSet::empty(SourceMemory::layout(&memory));
        missing.insert(all);
        let pushing = Pushing::new(Lent(Box::new(memory)), &missing);
        pushing.wanted.push(100);
        assert_eq!(pushing.next(Kind::Any).map(Run::first), Some(0));
        assert_eq!(pushing.next(Kind::Urgent).map(Run::first), Some(100));
        assert_eq!(pushing.next(Kind::Urgent), None);
        // What was sent for somebody is not sent again.
        let rest: u64 = std::iter::from_fn(|| pushing.next(Kind::Any)).map(Run::count).sum();
        assert_eq!(rest, 256 - PIECE - TOGETHER);
    }
}
