//! The worker of a queue pair: it receives and transmits, by one queue of the tap.
//!
//! What each half waits for decides what the worker listens to at the tap: nothing at all when neither waits for
//! it, since a queue that is off reports an error for ever.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::backend::Backend;
use super::counters::add;
use super::receive::{Receiver, Receiving};
use super::shared::Shared;
use super::transmit::{Transmitter, Transmitting, Wire};
use crate::event::Event;
use crate::virtio::{
    Interest, Listening, Progress, Token, VirtioInterrupt, Virtqueue, Wakeup, Worker, WorkerError,
};

const TAP: Token = Token(0);
const PAIRS: Token = Token(1);
/// The timers of the limits.
const RECEIVES: Token = Token(2);
const SENDS: Token = Token(3);

/// What the pair is, and whom it tells.
pub(super) struct PairParts {
    /// Its number, from 0.
    pub(super) index: u16,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) shared: Arc<Shared>,
    pub(super) interrupt: Arc<dyn VirtioInterrupt>,
    /// Notified when other pairs are active than before.
    pub(super) changed: Arc<Event>,
}

/// The worker of a queue pair.
pub(super) struct PairWorker {
    parts: PairParts,
    receiver: Receiver,
    receiving: Receiving,
    transmitter: Transmitter,
    transmitting: Transmitting,
    /// What is listened for at the tap.
    interest: Option<Interest>,
}

impl PairWorker {
    pub(super) fn new(parts: PairParts, receiver: Receiver, transmitter: Transmitter) -> Self {
        let receiving = Receiving::Off;
        let transmitting = Transmitting::Waiting;
        Self { parts, receiver, receiving, transmitter, transmitting, interest: None }
    }

    fn is_active(&self) -> bool {
        self.parts.index < self.parts.shared.active()
    }

    /// Which half has work now.
    fn wake(&mut self, wakeup: Wakeup) -> Result<(), WorkerError> {
        let rung = |queue: &Virtqueue| wakeup == Wakeup::Doorbell(queue.index());
        let ready = wakeup == Wakeup::Ready(TAP);
        match wakeup {
            Wakeup::Ready(PAIRS) => {
                self.parts.changed.clear();
            }
            Wakeup::Ready(RECEIVES) => self.receiver.limit.clear(),
            Wakeup::Ready(SENDS) => self.transmitter.limit.clear(),
            _ => {}
        }
        let receives = match self.receiving {
            Receiving::Working => false,
            Receiving::Waiting => ready,
            Receiving::Starved => rung(&self.receiver.queue),
            // The driver has been asked not to ring, but may; and a resume counts as a ring.
            Receiving::Throttled => wakeup == Wakeup::Ready(RECEIVES) || rung(&self.receiver.queue),
            // Once the tap has gone, a doorbell will not bring it back.
            Receiving::Off => wakeup == Wakeup::Ready(PAIRS) && self.is_active(),
        };
        if receives {
            self.receiver.wake()?;
            self.receiving = Receiving::Working;
        }
        let transmits = match self.transmitting {
            Transmitting::Working => false,
            Transmitting::Waiting => rung(&self.transmitter.queue),
            Transmitting::Blocked => ready,
            Transmitting::Throttled => {
                wakeup == Wakeup::Ready(SENDS) || rung(&self.transmitter.queue)
            }
        };
        if transmits {
            self.transmitter.wake()?;
            self.transmitting = Transmitting::Working;
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), WorkerError> {
        let backend = Arc::clone(&self.parts.backend);
        let [own, first] = [self.parts.index, 0].map(|queue| descriptor(&*backend, queue));
        let mut gone = false;
        if self.receiving == Receiving::Working {
            self.receiving = self.receiver.work(own, &self.parts.shared)?;
            if self.receiving == Receiving::Off {
                self.receiver.release();
                gone |= self.is_active();
            }
        }
        if self.transmitting == Transmitting::Working {
            let wire = Wire { own, first };
            let (state, lost) = self.transmitter.work(&wire, &self.parts.shared)?;
            self.transmitting = state;
            gone |= lost;
        }
        if gone && self.parts.shared.link_down() {
            tracing::warn!(tap = backend.name(), "the tap has gone: the link is down");
            self.parts.interrupt.config();
        }
        Ok(())
    }

    /// Listens for what the halves wait for.
    fn listen(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        let reads = self.receiving == Receiving::Waiting;
        let writes = self.transmitting == Transmitting::Blocked;
        let wanted = match (reads, writes) {
            (true, true) => Some(Interest::Both),
            (true, false) => Some(Interest::Readable),
            (false, true) => Some(Interest::Writable),
            (false, false) => None,
        };
        if wanted == self.interest {
            return Ok(());
        }
        let fd = descriptor(&*self.parts.backend, self.parts.index);
        let done = match (self.interest, wanted) {
            (None, Some(wanted)) => listening.add(fd, TAP, wanted),
            (Some(_), Some(wanted)) => listening.modify(fd, TAP, wanted),
            (_, None) => listening.remove(fd),
        };
        done.map_err(|source| WorkerError::Host { what: "listen to the tap", source })?;
        self.interest = wanted;
        Ok(())
    }

    fn step(
        &mut self,
        wakeup: Wakeup,
        listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError> {
        self.wake(wakeup)?;
        self.work()?;
        self.listen(listening)?;
        let busy =
            self.receiving == Receiving::Working || self.transmitting == Transmitting::Working;
        Ok(if busy { Progress::More } else { Progress::Idle })
    }
}

impl Worker for PairWorker {
    fn label(&self) -> String {
        format!("q{}", self.parts.index)
    }

    fn start(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        let host = |source| WorkerError::Host { what: "listen to an event", source };
        listening.add(self.parts.changed.as_fd(), PAIRS, Interest::Readable).map_err(host)?;
        let timers = [(&self.receiver.limit, RECEIVES), (&self.transmitter.limit, SENDS)];
        for (limit, token) in timers {
            if let Some(timer) = limit.timer() {
                listening.add(timer, token, Interest::Readable).map_err(host)?;
            }
        }
        self.parts.changed.notify();
        Ok(())
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        vec![&mut self.receiver.queue, &mut self.transmitter.queue]
    }

    fn handle(
        &mut self,
        wakeup: Wakeup,
        listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError> {
        let result = self.step(wakeup, listening);
        if let Err(WorkerError::Malformed(_)) = result {
            add(&self.parts.shared.counters.malformed, 1);
        }
        result
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        // Nothing is in flight, and every call has flushed what it pushed.
        self.receiver.release();
        Ok(())
    }
}

/// A pair's queue of the tap. There is one for each pair.
fn descriptor(backend: &dyn Backend, queue: u16) -> BorrowedFd<'_> {
    backend.queues()[usize::from(queue)].as_fd()
}
