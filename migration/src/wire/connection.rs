//! A connection that carries frames.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::codec::{Packer, Unpacker};
use super::frame::{HEADER, payload_len, stranger};
use super::{Compression, Frame, Interrupter, MAX_PAGES, Message, Pages, Transport, WireError};
use crate::memory::{
    Contents, DestinationMemory, Layout, PAGE_SIZE, Run, SourceMemory, split_zeros,
};

/// How much is gathered before it is written.
const GATHERED: usize = 256 << 10;

/// One end of a connection.
#[derive(Debug)]
pub struct Connection<T> {
    pub(super) transport: T,
    /// How long a frame may take to come, or to go.
    pub(super) patience: Duration,
    output: Vec<u8>,
    pub(super) input: Vec<u8>,
    sent: u64,
}

impl<T: Transport> Connection<T> {
    /// A connection on which a frame may take so long to come, or to go.
    pub fn new(transport: T, patience: Duration) -> Self {
        Self { transport, patience, output: Vec::new(), input: Vec::new(), sent: 0 }
    }

    /// What ends it from another thread.
    ///
    /// # Errors
    /// What the host says.
    pub fn interrupter(&self) -> Result<Interrupter, WireError> {
        Ok(self.transport.interrupter()?)
    }

    /// Bytes that were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a message, and what was queued before it.
    ///
    /// # Errors
    /// It cannot be sent in time.
    pub fn send(&mut self, message: Message) -> Result<(), WireError> {
        self.queue(&Frame::Message(message))?;
        self.flush()
    }

    /// Queues a frame, and sends what is queued when that is much.
    ///
    /// # Errors
    /// It is too long, or cannot be sent in time.
    pub fn queue(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        frame.encode(&mut self.output)?;
        if self.output.len() >= GATHERED {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// It cannot be sent in time.
    pub fn flush(&mut self) -> Result<(), WireError> {
        let waiting_for = "the other end to take what is sent";
        let deadline = Instant::now() + self.patience;
        let mut rest = &self.output[..];
        while !rest.is_empty() {
            self.transport.set_timeout(left(deadline, waiting_for)?)?;
            match self.transport.write(rest) {
                Ok(0) => return Err(WireError::Closed { waiting_for }),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if is_transient(error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What encrypts may keep something back.
        while let Err(error) = self.transport.flush() {
            if !is_transient(error.kind()) {
                return Err(error.into());
            }
            self.transport.set_timeout(left(deadline, waiting_for)?)?;
        }
        self.sent += self.output.len() as u64;
        self.output.clear();
        Ok(())
    }

    /// Waits for the next frame, which is called `waiting_for` in errors.
    ///
    /// # Errors
    /// The peer gave up, or nothing came in time, or what came is no frame.
    pub fn receive(&mut self, waiting_for: &'static str) -> Result<Frame<'_>, WireError> {
        let deadline = Instant::now() + self.patience;
        let mut header = [0; HEADER];
        if let Err(error) = fill(&mut self.transport, &mut header, deadline, waiting_for) {
            // What came before the end may say more.
            return Err(stranger(&header).unwrap_or(error));
        }
        self.input.resize(payload_len(&header)?, 0);
        fill(&mut self.transport, &mut self.input, deadline, waiting_for)?;
        match Frame::decode(&header, &self.input)? {
            Frame::Message(Message::Abort { reason } | Message::Refused { reason }) => {
                Err(WireError::Peer { reason })
            }
            frame => Ok(frame),
        }
    }

    /// Waits for a message, which is called `expected` in errors.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), or something else than a message came.
    pub fn message(&mut self, expected: &'static str) -> Result<Message, WireError> {
        match self.receive(expected)? {
            Frame::Message(message) => Ok(message),
            other => Err(unexpected(&other, expected)),
        }
    }
}

/// For a frame that may not come now.
pub(crate) fn unexpected(found: &Frame<'_>, expected: &'static str) -> WireError {
    WireError::Unexpected { found: found.name().to_owned(), expected }
}

/// For a message that may not come now.
pub(crate) fn unexpected_message(found: &Message, expected: &'static str) -> WireError {
    WireError::Unexpected { found: found.name().to_owned(), expected }
}

/// What is left until a deadline; never zero.
pub(super) fn left(deadline: Instant, waiting_for: &'static str) -> Result<Duration, WireError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(WireError::TimedOut { waiting_for }) } else { Ok(left) }
}

/// Whether to look at the clock and try again.
pub(super) fn is_transient(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn fill<T: Transport>(
    transport: &mut T,
    into: &mut [u8],
    deadline: Instant,
    waiting_for: &'static str,
) -> Result<(), WireError> {
    let mut rest = into;
    while !rest.is_empty() {
        transport.set_timeout(left(deadline, waiting_for)?)?;
        match transport.read(rest) {
            Ok(0) => return Err(WireError::Closed { waiting_for }),
            Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
            Err(error) if is_transient(error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends pages of a VM's memory, and puts those that come into one.
pub struct PageWriter {
    compression: Compression,
    pages: Vec<u8>,
    packer: Packer,
    data_pages: u64,
}

impl PageWriter {
    /// One that sends pages so.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self { compression, pages: Vec::new(), packer: Packer::default(), data_pages: 0 }
    }

    /// Queues a run of at most [`MAX_PAGES`] pages as they are now. Zeros are left out in round 0.
    ///
    /// # Errors
    /// The memory cannot be read, or the connection cannot take it.
    pub fn send<T: Transport>(
        &mut self,
        to: &mut Connection<T>,
        memory: &impl SourceMemory,
        (round, run): (u32, Run),
    ) -> Result<(), WireError> {
        self.pages.resize(usize::try_from(run.bytes()).unwrap_or(PAGE_SIZE), 0);
        memory.read(run.first(), &mut self.pages)?;
        for (contents, bytes, place) in split_zeros(&self.pages) {
            let (first, count) = (run.first() + place, (bytes.len() / PAGE_SIZE) as u64);
            let pages = Pages { round, first, count };
            match contents {
                Contents::Zeros if round == 0 => {}
                Contents::Zeros => to.queue(&Frame::Zeros(pages))?,
                Contents::Data => {
                    let (compression, body) = self.packer.pack(self.compression, bytes);
                    to.queue(&Frame::Data(pages, compression, body))?;
                    self.data_pages += count;
                }
            }
        }
        Ok(())
    }

    /// How many of the pages so far were sent with contents: the link has carried those, and zeros as good as not at all.
    #[must_use]
    pub fn data_pages(&self) -> u64 {
        self.data_pages
    }
}

impl Pages {
    /// These pages, if the layout has them.
    fn run(self, layout: &Layout) -> Result<Run, WireError> {
        let what =
            || format!("{} pages at page {}, which the VM does not have", self.count, self.first);
        let run = layout.run(self.first, self.count);
        run.ok_or_else(|| WireError::Malformed { what: what() })
    }

    /// Puts their contents into a VM's memory; `unpacker` makes what was made smaller what it was.
    pub(crate) fn write(
        self,
        memory: &impl DestinationMemory,
        (compression, body): (Compression, &[u8]),
        unpacker: &mut Unpacker,
    ) -> Result<(), WireError> {
        let run = self.run(memory.layout())?;
        debug_assert!(run.count() <= MAX_PAGES, "the frame was checked");
        let bytes = usize::try_from(run.bytes()).unwrap_or(PAGE_SIZE);
        if compression == Compression::None && body.len() == bytes {
            return Ok(memory.write(run.first(), body)?);
        }
        let pages = unpacker.unpack(compression, body, bytes)?;
        Ok(memory.write(run.first(), pages)?)
    }

    /// Makes them zeros in a VM's memory.
    pub(crate) fn zero(self, memory: &impl DestinationMemory) -> Result<(), WireError> {
        Ok(memory.zero(self.run(memory.layout())?)?)
    }
}
