//! Console (virtio 1.2, 5.3) with one port: Linux's `hvc0`.
//!
//! ```text
//!   transmitq ──▶ ┌────────┐ ──send_all──▶ ConsoleOutput (a bounded ring; what does not fit is dropped and counted)
//!                 │ worker │
//!   receiveq  ◀── └────────┘ ◀── input ring ◀──offer── the host's console
//! ```
//!
//! Invariants:
//! - Output never waits for the host side, and the driver gets its buffers back at once: a driver may spin for them.
//! - Input waits in the ring until the guest has buffers; the ring survives resets. When it is full, the rest stays with the
//!   host's console, which is told as soon as there is room (`input`).
//! - A change of the size is one store: no driver reads columns of one size with rows of another in one access. The worker
//!   announces it, so that a paused VM hears of it when it goes on; and once when it starts, because Linux's driver does not
//!   look at the size before that.

mod input;
mod size;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;

use super::saved::{SavedConsole, SavedDevice};
use super::{Activation, ActivationError, DeviceType, VirtioDevice, Worker};
use crate::console::{ConsoleInput, ConsoleOutput, ConsoleSize};
use crate::counters::CounterSource;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU64, Ordering};
use input::{Input, SAVED_LIMIT};
use size::{Announcer, Size};
use worker::ConsoleWorker;

/// Port 0's `receiveq` (5.3.2): to the guest.
const RECEIVE_QUEUE: u16 = 0;
/// Port 0's `transmitq`: from the guest.
const TRANSMIT_QUEUE: u16 = 1;

/// VIRTIO_CONSOLE_F_SIZE (5.3.3): the configuration tells columns and rows.
const F_SIZE: u64 = 1 << 0;

/// A console.
pub struct VirtioConsole {
    id: String,
    size: Arc<Size>,
    output: Arc<dyn ConsoleOutput>,
    input: Arc<Input>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Bytes that the guest sent.
    sent: AtomicU64,
    /// Bytes of single requests beyond what one may have.
    oversize: AtomicU64,
    /// Bytes that the guest received.
    received: AtomicU64,
}

impl VirtioConsole {
    /// A console that sends to `output`. Attach it there for input, and to be told of the terminal's size.
    ///
    /// # Errors
    /// The process or the host has no file descriptor left.
    pub fn new(id: &str, output: Arc<dyn ConsoleOutput>) -> std::io::Result<Self> {
        Ok(Self {
            id: id.to_owned(),
            size: Arc::default(),
            input: Arc::new(Input::new(Arc::clone(&output))?),
            output,
            counts: Arc::default(),
        })
    }

    /// The size that the driver reads.
    #[must_use]
    pub fn size(&self) -> ConsoleSize {
        self.size.get()
    }
}

impl ConsoleInput for VirtioConsole {
    fn offer(&self, bytes: &[u8]) -> usize {
        self.input.offer(bytes)
    }

    fn resized(&self, size: ConsoleSize) {
        if self.size.set(size) {
            self.input.wake_worker();
        }
    }
}

impl VirtioDevice for VirtioConsole {
    fn name(&self) -> &str {
        &self.id
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn features(&self) -> u64 {
        F_SIZE
    }

    fn queue_sizes(&self) -> &[u16] {
        &[256, 256]
    }

    /// `struct virtio_console_config` (5.3.4): `cols`, `rows`, `max_nr_ports`, `emerg_wr`. The last two belong to
    /// features that are not offered.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let config = self.size.bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, byte) in data.iter_mut().enumerate() {
            *byte = config.get(from.saturating_add(place)).copied().unwrap_or_default();
        }
    }

    fn activate(
        &self,
        mut activation: Activation,
    ) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        let mut take =
            |index| activation.take_queue(index).ok_or(ActivationError::MissingQueue(index));
        let (receive, transmit) = (take(RECEIVE_QUEUE)?, take(TRANSMIT_QUEUE)?);
        let worker = ConsoleWorker::new(
            (receive, transmit),
            Announcer::new(Arc::clone(&self.size), activation.interrupt),
            Arc::clone(&self.input),
            Arc::clone(&self.output),
            Arc::clone(&self.counts),
        );
        Ok(vec![Box::new(worker)])
    }

    fn save(&self) -> SavedDevice {
        let ConsoleSize { columns, rows } = self.size();
        SavedDevice::Console(SavedConsole { columns, rows, input: self.input.save() })
    }

    fn check(&self, saved: &SavedDevice) -> Result<(), Unfit> {
        let SavedDevice::Console(saved) = saved else { return Err(saved.of_another()) };
        if saved.input.len() > SAVED_LIMIT {
            return Err(Unfit::impossible("the bytes of input that wait", saved.input.len()));
        }
        Ok(())
    }

    fn restore(&self, saved: &SavedDevice) {
        let SavedDevice::Console(saved) = saved else { return };
        self.input.restore(&saved.input);
        // The terminal here, if there is one, is another.
        if self.size.get() == ConsoleSize::default() {
            let SavedConsole { columns, rows, .. } = *saved;
            self.size.set(ConsoleSize { columns, rows });
        }
    }
}

// Relaxed: statistics.
impl CounterSource for VirtioConsole {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("bytes_sent", self.counts.sent.load(Ordering::Relaxed)),
            ("bytes_oversize", self.counts.oversize.load(Ordering::Relaxed)),
            ("bytes_received", self.counts.received.load(Ordering::Relaxed)),
        ]
    }
}
