//! The connections that pages come over, at the destination.
//!
//! ```text
//!   lane: pages of round r ─▶ memory … Mark r ─▶ marks += 1, bell ─▶ pages of round r + 1 …
//!   control: RoundEnd r ─▶ waits until every lane has marked r ─▶ opens r + 1 ─▶ RoundDone r
//! ```
//!
//! Invariant: a page of a round is taken only while that round is open, which is after every page of the rounds before
//! is in its place. A source that keeps to the protocol does not notice.

use std::time::{Duration, Instant};

use vcpu_state::sync::FutexWord;
use vcpu_state::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::memory::DestinationMemory;
use crate::wire::{Connection, Frame, Mark, Transport, Unpacker, WireError, unexpected};

/// More rounds than any migration has.
const MAX_ROUNDS: u32 = 1 << 20;

/// What the lanes of a migration share.
pub(super) struct Lanes {
    /// The round whose pages may come.
    open: AtomicU32,
    /// Marks of all lanes but the control connection's.
    marks: AtomicU64,
    has_failed: AtomicBool,
    /// Advances whenever one of the above has changed.
    bell: FutexWord,
}

/// One connection's part.
#[derive(Default)]
pub(super) struct Lane {
    round: u32,
    is_done: bool,
    unpacker: Unpacker,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            open: AtomicU32::new(0),
            marks: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            bell: FutexWord::new(0),
        }
    }

    /// Carries a connection that brings nothing but pages to its last mark.
    pub(super) fn pump<T: Transport>(
        &self,
        connection: &mut Connection<T>,
        memory: &impl DestinationMemory,
    ) -> Result<(), WireError> {
        let mut lane = Lane::default();
        let pumped = (|| {
            while !lane.is_done {
                let frame = connection.receive("pages")?;
                if lane.take(&frame, memory, self)? {
                    // Release: with the mark, whoever waits sees the pages in their places.
                    self.marks.fetch_add(1, Ordering::AcqRel);
                    self.bell.advance();
                }
            }
            Ok(())
        })();
        if pumped.is_err() {
            self.fail();
        }
        pumped
    }

    /// A lane has ended without its last mark.
    pub(super) fn fail(&self) {
        // Release: pairs with the acquire in `has_failed`.
        self.has_failed.store(true, Ordering::Release);
        self.bell.advance();
    }

    /// Waits until so many lanes have marked a round.
    pub(super) fn await_marks(
        &self,
        (lanes, round): (usize, u32),
        patience: Duration,
    ) -> Result<(), WireError> {
        let waiting_for = "all pages of a round";
        let wanted = lanes as u64 * (u64::from(round) + 1);
        let deadline = Instant::now() + patience;
        loop {
            let bell = self.bell.load();
            // Acquire: pairs with the changes in `pump`.
            if self.marks.load(Ordering::Acquire) >= wanted {
                return Ok(());
            }
            if self.has_failed() {
                return Err(WireError::Closed { waiting_for });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WireError::TimedOut { waiting_for });
            }
            self.bell.wait(bell, Some(left));
        }
    }

    /// Whether a lane has ended without its last mark.
    pub(super) fn has_failed(&self) -> bool {
        // Acquire: pairs with the release in `fail`.
        self.has_failed.load(Ordering::Acquire)
    }

    /// Lets the pages of the round after this one come.
    pub(super) fn open_after(&self, round: u32) {
        // Release: pairs with the acquire in `take`, although the way over the source orders them, too.
        self.open.store(round.saturating_add(1), Ordering::Release);
    }
}

impl Lane {
    /// Whether its last mark has come.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The round that its next pages belong to.
    pub(super) fn round(&self) -> u32 {
        self.round
    }

    /// Takes a frame with pages or a mark; whether it was a mark.
    pub(super) fn take(
        &mut self,
        frame: &Frame<'_>,
        memory: &impl DestinationMemory,
        lanes: &Lanes,
    ) -> Result<bool, WireError> {
        let round = match frame {
            Frame::Data(pages, ..) | Frame::Zeros(pages) => pages.round,
            Frame::Mark(mark) => mark.round,
            _ => return Err(unexpected(frame, "pages")),
        };
        let is_open = self.round <= lanes.open.load(Ordering::Acquire) && !self.is_done;
        if round != self.round || !is_open || round >= MAX_ROUNDS {
            let found = format!("{} of round {round}", frame.name());
            return Err(WireError::Unexpected {
                found,
                expected: "those of the round that is open",
            });
        }
        match frame {
            Frame::Data(pages, compression, body) => {
                pages.write(memory, (*compression, body), &mut self.unpacker)?;
            }
            Frame::Zeros(pages) => pages.zero(memory)?,
            Frame::Mark(Mark { is_last, .. }) => {
                self.round += 1;
                self.is_done = *is_last;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PAGE_SIZE;
    use crate::testing::ModelMemory;
    use crate::wire::{Compression, Pages};

    static PAGE: [u8; PAGE_SIZE] = [1; PAGE_SIZE];

    fn page(round: u32) -> Frame<'static> {
        Frame::Data(Pages { round, first: 0, count: 1 }, Compression::None, &PAGE)
    }

    fn mark(round: u32, is_last: bool) -> Frame<'static> {
        Frame::Mark(Mark { round, is_last })
    }

    /// Whatever the order in which two connections deliver: an old page comes too late, a new one too early.
    #[test]
    fn a_page_is_taken_only_while_its_round_is_open() {
        let memory = ModelMemory::of_pages(1).unwrap();
        let lanes = Lanes::new();
        let [mut fast, mut slow] = [Lane::default(), Lane::default()];
        fast.take(&page(0), &memory, &lanes).unwrap();
        assert!(fast.take(&mark(0, false), &memory, &lanes).unwrap());
        // The other lane is still in round 0, so round 1 is not open.
        fast.take(&page(1), &memory, &lanes).unwrap_err();
        slow.take(&page(0), &memory, &lanes).unwrap();
        slow.take(&mark(0, false), &memory, &lanes).unwrap();
        lanes.open_after(0);
        fast.take(&page(1), &memory, &lanes).unwrap();
        slow.take(&page(0), &memory, &lanes).unwrap_err();
        slow.take(&page(2), &memory, &lanes).unwrap_err();
        slow.take(&mark(1, true), &memory, &lanes).unwrap();
        lanes.open_after(1);
        slow.take(&page(2), &memory, &lanes).unwrap_err();
        slow.take(&mark(2, true), &memory, &lanes).unwrap_err();
    }

    #[test]
    fn a_round_that_is_not_marked_is_not_waited_for_beyond_the_deadline_or_a_failure() {
        let lanes = Lanes::new();
        let error = lanes.await_marks((1, 0), Duration::from_millis(1)).unwrap_err();
        assert!(matches!(error, WireError::TimedOut { .. }), "{error}");
        lanes.has_failed.store(true, Ordering::Release);
        let error = lanes.await_marks((1, 0), Duration::from_hours(1)).unwrap_err();
        assert!(matches!(error, WireError::Closed { .. }), "{error}");
    }
}
