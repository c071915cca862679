//! Moves bytes between the queues and the host's console.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::input::{INPUT_LIMIT, Input};
use super::size::Announcer;
use super::{Counts, RECEIVE_QUEUE};
use crate::console::ConsoleOutput;
use crate::sync::atomic::Ordering;
use crate::virtio::{
    Chain, Interest, Listening, Malformed, Progress, Token, Virtqueue, Wakeup, Worker, WorkerError,
};

const INPUT: Token = Token(0);
/// Bytes copied in one go.
const CHUNK: usize = INPUT_LIMIT;
/// Bytes of one request that are sent; what is beyond would not fit into any ring and is dropped.
pub(super) const REQUEST_LIMIT: u32 = 256 << 10;
/// Bytes that one call sends, roughly.
const BUDGET: u32 = REQUEST_LIMIT;
/// Requests of one call at most, whatever their size.
const BATCH: usize = 64;

pub(super) struct ConsoleWorker {
    receive: Virtqueue,
    transmit: Virtqueue,
    size: Announcer,
    chain: Chain,
    chunk: Box<[u8]>,
    input: Arc<Input>,
    output: Arc<dyn ConsoleOutput>,
    counts: Arc<Counts>,
}

impl ConsoleWorker {
    pub(super) fn new(
        (receive, transmit): (Virtqueue, Virtqueue),
        size: Announcer,
        input: Arc<Input>,
        output: Arc<dyn ConsoleOutput>,
        counts: Arc<Counts>,
    ) -> Self {
        let chunk = vec![0; CHUNK].into();
        Self { receive, transmit, size, chain: Chain::new(), chunk, input, output, counts }
    }

    /// Gives the guest the input that there is, as far as it has buffers.
    fn receive(&mut self) -> Result<Progress, WorkerError> {
        for _ in 0..BATCH {
            if self.input.is_empty() {
                return Ok(Progress::Idle);
            }
            if !self.receive.pop(&mut self.chain)? {
                if self.receive.enable_notifications()? {
                    continue;
                }
                return Ok(Progress::Idle);
            }
            if self.chain.readable_len() > 0 || self.chain.writable_len() == 0 {
                return Err(Malformed::Shape("a receive buffer is a writable one").into());
            }
            let room = self.chunk.len().min(self.chain.writable_len() as usize);
            let taken = self.input.take(&mut self.chunk[..room]);
            let data = &self.chunk[..taken];
            let written = self.chain.write(self.receive.memory(), 0, data)?;
            self.counts.received.fetch_add(written as u64, Ordering::Relaxed);
            // At most a chunk.
            let written = u32::try_from(written).unwrap_or_default();
            self.receive.push(self.chain.head(), written)?;
        }
        Ok(Progress::More)
    }

    /// Sends what the guest has to say.
    fn transmit(&mut self) -> Result<Progress, WorkerError> {
        let mut sent = 0;
        for _ in 0..BATCH {
            if sent >= BUDGET {
                break;
            }
            if !self.transmit.pop(&mut self.chain)? {
                if self.transmit.enable_notifications()? {
                    continue;
                }
                return Ok(Progress::Idle);
            }
            if self.chain.writable_len() > 0 {
                return Err(Malformed::Shape("a transmit buffer is a readable one").into());
            }
            sent += self.send()?;
            self.transmit.push(self.chain.head(), 0)?;
        }
        Ok(Progress::More)
    }

    /// Sends one request; how many bytes.
    fn send(&mut self) -> Result<u32, WorkerError> {
        let whole = self.chain.readable_len();
        let wanted = whole.min(REQUEST_LIMIT);
        let mut sent = 0;
        while sent < wanted {
            let len = self.chunk.len().min((wanted - sent) as usize);
            let data = &mut self.chunk[..len];
            self.chain.read_exact(self.transmit.memory(), sent, data)?;
            self.output.send_all(data);
            // At most what was wanted.
            sent += u32::try_from(len).unwrap_or(wanted);
        }
        // Relaxed: statistics.
        self.counts.sent.fetch_add(sent.into(), Ordering::Relaxed);
        self.counts.oversize.fetch_add((whole - wanted).into(), Ordering::Relaxed);
        Ok(sent)
    }
}

impl Worker for ConsoleWorker {
    fn label(&self) -> String {
        "console".to_owned()
    }

    fn start(&mut self, listening: &mut Listening<'_>) -> Result<(), WorkerError> {
        self.size.announce();
        listening
            .add(self.input.as_fd(), INPUT, Interest::Readable)
            .map_err(|source| WorkerError::Host { what: "listen for console input", source })
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        vec![&mut self.receive, &mut self.transmit]
    }

    fn handle(
        &mut self,
        wakeup: Wakeup,
        _listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError> {
        let progress = match wakeup {
            Wakeup::Ready(_) => {
                self.input.clear();
                self.size.announce();
                self.receive()?
            }
            Wakeup::Doorbell(RECEIVE_QUEUE) => self.receive()?,
            Wakeup::Doorbell(_) => self.transmit()?,
            Wakeup::Again => match (self.receive()?, self.transmit()?) {
                (Progress::Idle, Progress::Idle) => Progress::Idle,
                _ => Progress::More,
            },
        };
        self.drain()?;
        Ok(progress)
    }

    /// Every request is answered in the call that took it.
    fn drain(&mut self) -> Result<(), WorkerError> {
        self.receive.flush()?;
        Ok(self.transmit.flush()?)
    }
}
