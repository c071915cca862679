//! The worker: it serves the one queue, a bounded piece of a request at a time.
//!
//! ```text
//!   no request ── pop ──▶ checked ──▶ State, Nack, Error: answered at once
//!       ▲                    │
//!       │                    └─▶ job: plug or unplug ── piece ──▶ … ── the last ──▶ the bits change, Ack
//!       │                         │ drain                │ the host refuses
//!       └───────── unpop ─────────┘                      └─▶ plug: job: undo ──▶ Busy;   unplug: Busy
//! ```
//!
//! What a drain leaves of a job that plugs is plugged anew when the request is begun again, or undone should it be refused then.

use std::ops::Range;
use std::sync::Arc;

use vm_memory::GuestAddress;

use super::blocks::State;
use super::counters::one;
use super::device::Shared;
use super::request::{Asked, REQUEST_SIZE, RESPONSE_SIZE, Request, Response};
use super::{BLOCK_SIZE, MemHost};
use crate::sync::atomic::Ordering;
use crate::virtio::{
    Chain, Listening, Malformed, Progress, Virtqueue, Wakeup, Worker, WorkerError,
};

/// Requests that a call answers.
const BATCH: usize = 16;
/// Blocks that a call has the host work on: 32 MiB, some milliseconds.
const PIECE: u64 = 16;

/// What the host does to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Plug,
    Unplug,
    /// Takes back what is not going to be plugged.
    Undo,
}

/// A request that the host has to work for.
#[derive(Debug)]
struct Job {
    asked: Asked,
    work: Work,
    blocks: Range<u64>,
    /// The first block that is not done.
    next: u64,
    /// The answer, when all is done.
    answer: Response,
}

/// Serves the queue of a memory device.
pub(super) struct MemWorker {
    queue: Virtqueue,
    chain: Chain,
    job: Option<Job>,
    /// What a drain has left of a job that plugs.
    left: Option<Range<u64>>,
    shared: Arc<Shared>,
    host: Arc<dyn MemHost>,
}

/// What a request comes to at first.
enum Begun {
    Job(Job),
    Answer(Asked, Response),
}

impl MemWorker {
    pub(super) fn new(queue: Virtqueue, shared: Arc<Shared>, host: Arc<dyn MemHost>) -> Self {
        Self { queue, chain: Chain::new(), job: None, left: None, shared, host }
    }

    fn work(&mut self) -> Result<Progress, WorkerError> {
        for _ in 0..BATCH {
            if let Some(job) = self.job.take() {
                return self.go_on(job);
            }
            if self.queue.pop(&mut self.chain)? {
                match self.begin()? {
                    Begun::Job(job) => return self.go_on(job),
                    Begun::Answer(asked, response) => match self.left.take() {
                        Some(left) => self.job = Some(Job::undo(asked, left, response)),
                        None => self.answer(asked, response)?,
                    },
                }
            } else if !self.queue.enable_notifications()? {
                return Ok(Progress::Idle);
            }
        }
        Ok(Progress::More)
    }

    /// Looks at the request that was taken off the ring.
    fn begin(&self) -> Result<Begun, Malformed> {
        let mut bytes = [0; REQUEST_SIZE];
        self.chain.read_exact(self.queue.memory(), 0, &mut bytes)?;
        if (self.chain.writable_len() as usize) < RESPONSE_SIZE {
            return Err(Malformed::Shape("it has no room for the answer"));
        }
        let blocks = &self.shared.blocks;
        let Some(request) = Request::read(bytes, self.shared.gpa.0, blocks.count()) else {
            // Whatever it was to be.
            return Ok(Begun::Answer(Asked::State, Response::Error));
        };
        let Request { asked, blocks: range } = request;
        let state = blocks.state(&range);
        // Relaxed: the number is read for itself. What the host asks for next, the driver hears of next.
        let requested = self.shared.requested.load(Ordering::Relaxed) / BLOCK_SIZE;
        let answer = match asked {
            Asked::State => Response::State(state),
            Asked::Plug if state != State::Unplugged => Response::Error,
            Asked::Unplug if state != State::Plugged => Response::Error,
            Asked::Plug if blocks.plugged() + (range.end - range.start) > requested => {
                Response::Nack
            }
            Asked::Plug | Asked::Unplug | Asked::UnplugAll => {
                let work = if asked == Asked::Plug { Work::Plug } else { Work::Unplug };
                let answer = Response::Ack;
                let next = range.start;
                return Ok(Begun::Job(Job { asked, work, blocks: range, next, answer }));
            }
        };
        Ok(Begun::Answer(asked, answer))
    }

    /// Has the host work on the next piece of a job.
    fn go_on(&mut self, mut job: Job) -> Result<Progress, WorkerError> {
        let piece = job.next..job.blocks.end.min(job.next + PIECE);
        let gpa = GuestAddress(self.shared.gpa.0 + piece.start * BLOCK_SIZE);
        let bytes = (piece.end - piece.start) * BLOCK_SIZE;
        let done = match job.work {
            Work::Plug => self.host.plug(gpa, bytes),
            Work::Unplug | Work::Undo => self.host.unplug(gpa, bytes),
        };
        job.next = piece.end;
        if let Err(error) = done {
            tracing::debug!(?job, %error, "the host does not plug or unplug memory");
            one(&self.shared.counters.host_errors);
            match job.work {
                Work::Plug => {
                    let touched = job.blocks.start..self.touched(&job);
                    job = Job::undo(job.asked, touched, Response::Busy);
                }
                // What was unplugged before counts as plugged: it reads as zeros, and the driver has said that it does not need it.
                Work::Unplug => return self.finish(&job, Response::Busy),
                Work::Undo => {}
            }
        }
        if job.next < job.blocks.end {
            self.job = Some(job);
            return Ok(Progress::More);
        }
        match job.work {
            Work::Plug => self.shared.blocks.plug(&job.blocks),
            Work::Unplug => self.shared.blocks.unplug(&job.blocks),
            Work::Undo => {}
        }
        self.finish(&job, job.answer)
    }

    /// Where that ends which a job has had plugged so far, now or before a drain.
    fn touched(&self, job: &Job) -> u64 {
        self.left.as_ref().map_or(job.next, |left| job.next.max(left.end))
    }

    fn finish(&mut self, job: &Job, response: Response) -> Result<Progress, WorkerError> {
        self.left = None;
        self.answer(job.asked, response)?;
        Ok(Progress::More)
    }

    fn answer(&mut self, asked: Asked, response: Response) -> Result<(), Malformed> {
        self.shared.counters.answered(asked, response);
        let written = self.chain.write(self.queue.memory(), 0, &response.bytes())?;
        // Ten bytes.
        self.queue.push(self.chain.head(), u32::try_from(written).unwrap_or(0))
    }
}

impl Job {
    fn undo(asked: Asked, blocks: Range<u64>, answer: Response) -> Self {
        Self { asked, work: Work::Undo, next: blocks.start, blocks, answer }
    }
}

impl Worker for MemWorker {
    fn label(&self) -> String {
        "mem".into()
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        vec![&mut self.queue]
    }

    fn handle(&mut self, _: Wakeup, _: &mut Listening<'_>) -> Result<Progress, WorkerError> {
        let result = self.work();
        if let Err(WorkerError::Malformed(_)) = result {
            one(&self.shared.counters.malformed);
        }
        self.queue.flush()?;
        result
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        if let Some(job) = self.job.take() {
            self.left = match job.work {
                Work::Plug => Some(job.blocks.start..self.touched(&job)),
                Work::Undo => Some(job.next..job.blocks.end),
                Work::Unplug => None,
            };
            self.queue.unpop();
        }
        Ok(())
    }
}
