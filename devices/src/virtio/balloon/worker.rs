//! The balloon's worker: it serves every queue, a bounded piece of a request at a time.
//!
//! ```text
//!   lane: no request ── pop ──▶ request, at 0 ── piece ──▶ request, at n ── … ──▶ its end ── push ──▶ no request
//!                                     ▲                         │ drain
//!                                     └──────── unpop ──────────┘
//! ```

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemory as _, Permissions};

use super::counters::{Counters, add};
use super::pages::{PAGE_SIZE, PageReturn, runs, whole};
use crate::virtio::{Chain, Listening, Progress, Virtqueue, Wakeup, Worker, WorkerError};

/// Page numbers that are looked at together: as many as Linux puts into a request.
const PIECE: usize = 256;
/// Bytes of a page number, and of a piece.
const NUMBER: u32 = 4;
const PIECE_BYTES: u32 = 1024;
const _: () = assert!(PIECE * NUMBER as usize == PIECE_BYTES as usize);
/// [`PAGE_SIZE`], as a size in memory.
const PAGE_BYTES: usize = 4096;
const _: () = assert!(PAGE_BYTES as u64 == PAGE_SIZE);
/// Pieces and requests that a call works off for each queue.
const BATCH: usize = 16;

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Pages go into the balloon.
    Inflate,
    /// Pages come out of it.
    Deflate,
    /// Pages are not used for now.
    Report,
}

/// A queue and the request at hand.
pub(super) struct Lane {
    queue: Virtqueue,
    purpose: Purpose,
    chain: Chain,
    /// How far the request at hand has been worked off: bytes, or for reports ranges.
    at: Option<u32>,
}

impl Lane {
    pub(super) fn new(queue: Virtqueue, purpose: Purpose) -> Self {
        Self { queue, purpose, chain: Chain::new(), at: None }
    }

    fn release(&mut self) {
        if self.at.take().is_some() {
            self.queue.unpop();
        }
    }
}

/// Serves every queue of a balloon.
pub(super) struct BalloonWorker {
    lanes: Vec<Lane>,
    host: Arc<dyn PageReturn>,
    counters: Arc<Counters>,
}

impl BalloonWorker {
    pub(super) fn new(
        lanes: Vec<Lane>,
        host: Arc<dyn PageReturn>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { lanes, host, counters }
    }

    fn work(&mut self) -> Result<Progress, WorkerError> {
        let Self { lanes, host, counters } = self;
        let mut progress = Progress::Idle;
        for lane in lanes {
            let worked = Desk { host: &**host, counters }.work(lane);
            lane.queue.flush()?;
            if worked? == Progress::More {
                progress = Progress::More;
            }
        }
        Ok(progress)
    }
}

/// What a lane's request is worked off with.
struct Desk<'a> {
    host: &'a dyn PageReturn,
    counters: &'a Counters,
}

impl Desk<'_> {
    fn work(&self, lane: &mut Lane) -> Result<Progress, WorkerError> {
        for _ in 0..BATCH {
            let at = match lane.at {
                Some(at) => at,
                None if lane.queue.pop(&mut lane.chain)? => 0,
                None if lane.queue.enable_notifications()? => continue,
                None => return Ok(Progress::Idle),
            };
            lane.at = match lane.purpose {
                Purpose::Inflate => self.inflate(lane, at)?,
                Purpose::Deflate => {
                    add(&self.counters.deflated, (lane.chain.readable_len() / NUMBER).into());
                    None
                }
                Purpose::Report => self.report(lane, at),
            };
            if lane.at.is_none() {
                lane.queue.push(lane.chain.head(), 0)?;
            }
        }
        Ok(Progress::More)
    }

    /// Gives the pages of a piece of an inflate request back; where the next piece begins.
    fn inflate(&self, lane: &Lane, at: u32) -> Result<Option<u32>, WorkerError> {
        let memory = lane.queue.memory();
        let mut bytes = [0; PIECE_BYTES as usize];
        let read = lane.chain.read(memory, at, &mut bytes)?;
        let mut numbers = [0; PIECE];
        let mut count = 0;
        let (whole_numbers, rest) = bytes[..read].as_chunks();
        for number in whole_numbers.iter().map(|number| u32::from_le_bytes(*number)) {
            let gpa = GuestAddress(u64::from(number) * PAGE_SIZE);
            if memory.check_range(gpa, PAGE_BYTES, Permissions::Write) {
                numbers[count] = number;
                count += 1;
            } else {
                add(&self.counters.malformed, 1);
            }
        }
        if !rest.is_empty() {
            add(&self.counters.malformed, 1);
        }
        runs(&mut numbers[..count], |gpa, len| {
            self.discard(gpa, len, &self.counters.inflated);
        });
        Ok((read == bytes.len()).then(|| at.saturating_add(PIECE_BYTES)))
    }

    /// Gives the pages of one range of a report back; which range is the next.
    fn report(&self, lane: &Lane, at: u32) -> Option<u32> {
        let segment = lane.chain.writable().get(at as usize)?;
        if let Some((gpa, len)) = whole(segment.gpa, segment.len) {
            self.discard(gpa, len, &self.counters.reported);
        }
        Some(at + 1)
    }

    fn discard(&self, gpa: GuestAddress, len: u64, done: &crate::sync::atomic::AtomicU64) {
        match self.host.discard(gpa, len) {
            Ok(()) => add(done, len / PAGE_SIZE),
            Err(error) => {
                tracing::debug!(gpa = gpa.0, len, %error, "the host did not take pages back");
                add(&self.counters.errors, 1);
            }
        }
    }
}

impl Worker for BalloonWorker {
    fn label(&self) -> String {
        "balloon".into()
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        self.lanes.iter_mut().map(|lane| &mut lane.queue).collect()
    }

    fn handle(&mut self, _: Wakeup, _: &mut Listening<'_>) -> Result<Progress, WorkerError> {
        let result = self.work();
        if let Err(WorkerError::Malformed(_)) = result {
            add(&self.counters.malformed, 1);
        }
        result
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        self.lanes.iter_mut().for_each(Lane::release);
        Ok(())
    }
}
