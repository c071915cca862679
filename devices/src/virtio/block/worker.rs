//! A queue's worker: takes requests off the ring, lets a backend carry them out, and gives them back.
//!
//! ```text
//!   doorbell / completion / timer ─▶ turn: ┌─▶ admit a batch ─▶ flush the backend ─▶ reap ─▶ interrupt ─┐
//!                                          └──────────────────── anything new? ◀────────────────────────┘
//!                                                                  │ no
//!                                          ask for doorbells, sleep ◀
//! ```
//!
//! Invariants: a request is in one slot from `pop` to `push`; no request needs the heap once its slot has been
//! used; a host's error is the request's status and never the worker's end; a throttled worker has nothing in
//! flight that it waits for, so a pause does not wait for its timer.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::backend::{Backend, Completion};
use super::counters::count;
use super::device::Shared;
use super::request::{Disk, Status, parse};
use super::slot::{Rules, Slot, Step};
use crate::virtio::limit::{Throttled, Timer};
use crate::virtio::{
    Interest, Listening, Malformed, Progress, Token, Virtqueue, Wakeup, Worker, WorkerError,
};

/// The backend's descriptor.
const ENDED: Token = Token(0);
/// The timer of the limits.
const REFILLED: Token = Token(1);

/// Requests that are begun before the first is looked after; a doorbell or two of a busy guest.
const BATCH: usize = 64;
/// Operations that are looked after in a row.
const REAPED: usize = 256;
/// Batches after which the worker looks whether it has been asked to stop.
const BATCHES: usize = 8;

/// The worker of one queue.
pub(super) struct BlockWorker {
    queue: Virtqueue,
    backend: Box<dyn Backend>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    rules: Rules,
    shared: Arc<Shared>,
    /// Only with limits.
    timer: Option<Timer>,
    /// The next request has been found to have to wait.
    throttled: bool,
}

/// What became of an attempt to take requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admitted {
    /// The ring is empty.
    All,
    /// There may be more, for which there will be room when something ends.
    Full,
    /// There may be more.
    Batch,
    /// The next one may not begin before the timer.
    Throttled,
}

impl BlockWorker {
    pub fn new(
        queue: Virtqueue,
        backend: Box<dyn Backend>,
        rules: Rules,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let slots = (0..queue.size()).map(|_| Slot::new(queue.memory())).collect();
        let free = (0..queue.size()).rev().collect();
        let timer = shared.limiter.is_limiting().then(Timer::new).transpose()?;
        Ok(Self { queue, backend, slots, free, rules, shared, timer, throttled: false })
    }

    fn turn(&mut self) -> Result<Progress, WorkerError> {
        self.queue.disable_notifications()?;
        for _ in 0..BATCHES {
            let admitted = self.admit()?;
            let begun = self.backend.flush().map_err(host("begin disk I/O"))?;
            let reaped = self.reap()?;
            self.queue.flush()?;
            if reaped || !begun {
                continue;
            }
            match admitted {
                Admitted::Batch => {}
                // What ends, or the timer, wakes it; until then it needs no doorbells.
                Admitted::Full | Admitted::Throttled => return Ok(Progress::Idle),
                Admitted::All => {
                    // Nothing can end any more that would tell by the descriptor; what has ended needs no turn of its own.
                    if self.backend.in_flight() == 0 {
                        self.backend.acknowledge();
                    }
                    if !self.queue.enable_notifications()? {
                        return Ok(Progress::Idle);
                    }
                    self.queue.disable_notifications()?;
                }
            }
        }
        Ok(Progress::More)
    }

    /// Begins as many requests as there are, within a batch.
    fn admit(&mut self) -> Result<Admitted, WorkerError> {
        for _ in 0..BATCH {
            let Some(index) = self.free.last().copied() else { return Ok(Admitted::Full) };
            let slot = &mut self.slots[usize::from(index)];
            if !self.queue.pop(&mut slot.chain)? {
                return Ok(Admitted::All);
            }
            let buffers = slot.chain.readable().len() + slot.chain.writable().len();
            if buffers > self.queue.size().into() {
                // virtio 1.2, 2.7.5.3.1; it also bounds what a request makes us remember.
                return Err(Malformed::Shape("it has more buffers than the queue").into());
            }
            let disk = Disk { capacity: self.shared.capacity(), access: self.shared.access };
            let (chain, ranges) = slot.parts();
            let request = match parse(chain, self.queue.memory(), disk, ranges)? {
                Ok(request) => request,
                Err(status) => {
                    self.free.pop();
                    slot.request = None;
                    self.finish(index, status)?;
                    continue;
                }
            };
            if let Err(Throttled(wait)) = self.shared.limiter.pay(request.bytes()) {
                self.queue.unpop();
                self.throttle(wait)?;
                return Ok(Admitted::Throttled);
            }
            self.throttled = false;
            self.free.pop();
            slot.begin(request, &self.rules, self.queue.memory())?;
            self.advance(index)?;
        }
        Ok(Admitted::Batch)
    }

    fn throttle(&mut self, wait: u64) -> Result<(), WorkerError> {
        if !std::mem::replace(&mut self.throttled, true) {
            count(&self.shared.counters.throttled, 1);
        }
        match &self.timer {
            Some(timer) => timer.set(wait).map_err(host("set the timer of a limit")),
            None => Ok(()),
        }
    }

    /// Does the next thing for the request in a slot.
    fn advance(&mut self, index: u16) -> Result<(), WorkerError> {
        let slot = &mut self.slots[usize::from(index)];
        let operation = match slot.next(&self.rules)? {
            Step::Submit(operation) => operation,
            Step::Finish(status) => return self.finish(index, status),
        };
        match slot.take_transfer() {
            Some(transfer) => self.backend.submit(index, &operation, transfer),
            None => self.finish(index, Status::IoError)?,
        }
        Ok(())
    }

    /// Gives a request back.
    fn finish(&mut self, index: u16, status: Status) -> Result<(), WorkerError> {
        let slot = &self.slots[usize::from(index)];
        let chain = &slot.chain;
        let len = chain.writable_len();
        chain.write(self.queue.memory(), len.saturating_sub(1), &[status as u8])?;
        // All of the writable part, so that the status is within it, whatever has become of the data before it.
        self.queue.push(chain.head(), len)?;
        self.shared.account(slot.request, status);
        self.free.push(index);
        Ok(())
    }

    /// Looks after what has ended; whether anything has.
    fn reap(&mut self) -> Result<bool, WorkerError> {
        let mut any = false;
        for _ in 0..REAPED {
            let Some(Completion { token, result, transfer }) = self.backend.next() else { break };
            any = true;
            if let Err(errno) = result {
                tracing::debug!(%errno, "the host refuses a disk operation");
            }
            self.slots[usize::from(token)].completed(result, transfer)?;
            self.advance(token)?;
        }
        Ok(any)
    }
}

impl Worker for BlockWorker {
    fn label(&self) -> String {
        format!("q{}", self.queue.index())
    }

    fn start(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        if let Some(fd) = self.backend.fd() {
            let added = listening.add(fd, ENDED, Interest::Readable);
            added.map_err(host("listen for the ends of disk I/O"))?;
        }
        if let Some(timer) = &self.timer {
            let added = listening.add(timer.as_fd(), REFILLED, Interest::Readable);
            added.map_err(host("listen to the timer of a limit"))?;
        }
        Ok(())
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        vec![&mut self.queue]
    }

    fn handle(
        &mut self,
        wakeup: Wakeup,
        _listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError> {
        match (wakeup, &self.timer) {
            (Wakeup::Ready(ENDED), _) => self.backend.acknowledge(),
            (Wakeup::Ready(REFILLED), Some(timer)) => timer.clear(),
            _ => {}
        }
        self.turn()
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        loop {
            self.backend.flush().map_err(host("begin disk I/O"))?;
            if self.backend.in_flight() == 0 {
                break;
            }
            self.backend.wait().map_err(host("wait for disk I/O"))?;
            self.reap()?;
        }
        Ok(self.queue.flush()?)
    }
}

fn host(what: &'static str) -> impl FnOnce(io::Error) -> WorkerError {
    move |source| WorkerError::Host { what, source }
}
