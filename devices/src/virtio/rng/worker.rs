//! Fills the requests.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;

use vm_memory::{ReadVolatile, VolatileMemoryError};

use super::Counts;
use crate::memory::GuestSlice;
use crate::sync::atomic::Ordering;
use crate::virtio::{
    Chain, Interest, Listening, Malformed, Progress, Token, Virtqueue, Wakeup, Worker, WorkerError,
};

/// The source, when it is listened to.
const SOURCE: Token = Token(0);
/// A request gets at most this many bytes; the driver asks again if it wants more.
pub(super) const REQUEST_LIMIT: u32 = 64 << 10;
/// Requests in one call at most.
const BATCH: usize = 16;

/// What is done about the source.
#[derive(PartialEq, Eq)]
enum Source {
    /// It is read when a request comes.
    Asked,
    /// It had nothing; the poll tells when it has.
    Awaited,
}

/// What became of a look into the ring.
enum Filled {
    /// A request was answered.
    One,
    /// There was none.
    None,
    /// There was one, but nothing to give it.
    Waits,
}

pub(super) struct RngWorker {
    queue: Virtqueue,
    chain: Chain,
    file: Arc<File>,
    source: Source,
    counts: Arc<Counts>,
}

impl RngWorker {
    pub(super) fn new(queue: Virtqueue, file: Arc<File>, counts: Arc<Counts>) -> Self {
        Self { queue, chain: Chain::new(), file, source: Source::Asked, counts }
    }

    fn fill_one(&mut self) -> Result<Filled, WorkerError> {
        if !self.queue.pop(&mut self.chain)? {
            return Ok(Filled::None);
        }
        if self.chain.readable_len() > 0 || self.chain.writable_len() == 0 {
            return Err(Malformed::Shape("a request for entropy is a writable buffer").into());
        }
        match self.read() {
            Ok(0) => Err(failed(ErrorKind::UnexpectedEof.into())),
            Ok(len) => {
                // Relaxed: statistics.
                self.counts.requests.fetch_add(1, Ordering::Relaxed);
                self.counts.bytes.fetch_add(len.into(), Ordering::Relaxed);
                self.queue.push(self.chain.head(), len)?;
                Ok(Filled::One)
            }
            Err(WorkerError::Host { source, .. }) if source.kind() == ErrorKind::WouldBlock => {
                self.queue.unpop();
                Ok(Filled::Waits)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads into the request's buffers until one is not full; an error only if nothing was read before it.
    fn read(&self) -> Result<u32, WorkerError> {
        let mut read = 0;
        let mut ended = Ok(());
        let mut going = true;
        let each = |mut slice: GuestSlice<'_>| {
            if !going {
                return;
            }
            match read_once(&self.file, &mut slice) {
                Ok(len) => {
                    going = len == slice.len();
                    read += len;
                }
                Err(error) => {
                    going = false;
                    ended = Err(error);
                }
            }
        };
        self.chain.writable_slices(self.queue.memory(), 0..REQUEST_LIMIT, each)?;
        match ended {
            Err(error) if read == 0 => Err(failed(error)),
            // At most the limit.
            _ => Ok(u32::try_from(read).unwrap_or(REQUEST_LIMIT)),
        }
    }

    fn work(&mut self, listening: &mut Listening<'_>) -> Result<Progress, WorkerError> {
        for _ in 0..BATCH {
            match self.fill_one()? {
                Filled::One => {}
                Filled::None if self.queue.enable_notifications()? => {}
                Filled::None => return Ok(Progress::Idle),
                Filled::Waits => {
                    let added = listening.add(self.file.as_fd(), SOURCE, Interest::Readable);
                    added.map_err(failed)?;
                    self.source = Source::Awaited;
                    self.counts.waits.fetch_add(1, Ordering::Relaxed);
                    return Ok(Progress::Idle);
                }
            }
        }
        Ok(Progress::More)
    }
}

fn failed(source: Error) -> WorkerError {
    WorkerError::Host { what: "read the entropy source", source }
}

/// One read, again if a signal came in between.
fn read_once(mut file: &File, slice: &mut GuestSlice<'_>) -> Result<usize, Error> {
    loop {
        match file.read_volatile(slice) {
            Ok(len) => return Ok(len),
            Err(VolatileMemoryError::IOError(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(VolatileMemoryError::IOError(error)) => return Err(error),
            Err(other) => return Err(Error::other(other)),
        }
    }
}

impl Worker for RngWorker {
    fn label(&self) -> String {
        "rng".to_owned()
    }

    fn queues(&mut self) -> Vec<&mut Virtqueue> {
        vec![&mut self.queue]
    }

    fn handle(
        &mut self,
        wakeup: Wakeup,
        listening: &mut Listening<'_>,
    ) -> Result<Progress, WorkerError> {
        match (wakeup, &self.source) {
            (Wakeup::Ready(_), Source::Awaited) => {
                listening.remove(self.file.as_fd()).map_err(failed)?;
                self.source = Source::Asked;
            }
            (Wakeup::Doorbell(_) | Wakeup::Again, Source::Asked) => {}
            // New requests wait behind the one that waits.
            (_, Source::Awaited) | (Wakeup::Ready(_), Source::Asked) => return Ok(Progress::Idle),
        }
        let progress = self.work(listening);
        self.queue.flush()?;
        progress
    }

    /// What has been answered has been flushed, and nothing else is ever in flight.
    fn drain(&mut self) -> Result<(), WorkerError> {
        Ok(self.queue.flush()?)
    }
}
