//! Entropy source (virtio 1.2, 5.4): what a file on the host gives, straight into the guest's buffers.
//!
//! ```text
//!            request, source gives bytes ┌─────────┐ nothing to give now
//!                               ┌──────▶ │ filling │ ─────────────▶ waiting
//!                               └─────── └─────────┘ ◀───────────── (the request is back in the ring)
//!                                             │          readable
//!                  the source has ended, fails │ ▼
//!                                           broken: the device asks for a reset
//! ```
//!
//! Invariants:
//! - Every byte of the source goes to one request, in order; none is kept here.
//! - A request gets at least one byte (5.4.6.1), and of a large one only the beginning.
//! - The source never blocks the worker: no request is in flight between two calls.

#[cfg(test)]
mod tests;
mod worker;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Activation, ActivationError, DeviceType, VirtioDevice, Worker};
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU64, Ordering};
use worker::RngWorker;

/// The only queue, `requestq` (5.4.2).
const REQUEST_QUEUE: u16 = 0;

/// The source cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the entropy source {path}: {source}", path = path.display())]
pub struct RngError {
    path: PathBuf,
    source: std::io::Error,
}

/// An entropy source.
pub struct Rng {
    id: String,
    source: Arc<File>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Requests that were given bytes.
    requests: AtomicU64,
    /// Bytes given.
    bytes: AtomicU64,
    /// Times that a request had to wait for the source.
    waits: AtomicU64,
}

impl Rng {
    /// Where bytes come from if nobody says otherwise: the host's generator, which never ends and never waits.
    pub const DEFAULT_SOURCE: &'static str = "/dev/urandom";

    /// One that gives what the file at `source` gives: usually a character device or a pipe. When it ends, the
    /// device breaks.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(id: &str, source: &Path) -> Result<Self, RngError> {
        // Non-blocking, for sources that have to gather first.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(source);
        let failed = |error| RngError { path: source.to_owned(), source: error };
        Ok(Self {
            id: id.to_owned(),
            source: Arc::new(file.map_err(failed)?),
            counts: Arc::default(),
        })
    }
}

impl VirtioDevice for Rng {
    fn name(&self) -> &str {
        &self.id
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    /// None (5.4.3).
    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[256]
    }

    /// There is none (5.4.4).
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(
        &self,
        mut activation: Activation,
    ) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        let queue = activation.take_queue(REQUEST_QUEUE);
        let queue = queue.ok_or(ActivationError::MissingQueue(REQUEST_QUEUE))?;
        let worker = RngWorker::new(queue, Arc::clone(&self.source), Arc::clone(&self.counts));
        Ok(vec![Box::new(worker)])
    }
}

// Relaxed: statistics.
impl CounterSource for Rng {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("requests", self.counts.requests.load(Ordering::Relaxed)),
            ("bytes", self.counts.bytes.load(Ordering::Relaxed)),
            ("source_waits", self.counts.waits.load(Ordering::Relaxed)),
        ]
    }
}
