//! The balloon as the transport and the control plane see it.

use std::sync::Arc;

use super::counters::Counters;
use super::pages::{PAGE_SIZE, PageReturn};
use super::worker::{BalloonWorker, Lane, Purpose};
use crate::counters::CounterSource;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::virtio::saved::{SavedBalloon, SavedDevice};
use crate::virtio::{Activation, ActivationError, DeviceType, VirtioDevice, Worker};

/// Feature bits (virtio 1.2, 5.5.3).
pub(super) const DEFLATE_ON_OOM: u64 = 1 << 2;
pub(super) const REPORTING: u64 = 1 << 5;

/// Queues (virtio 1.2, 5.5.2).
const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
const REPORT: u16 = 4;
/// Where Linux has the queue for reports: it leaves no numbers free for queues that were not negotiated.
const REPORT_PACKED: u16 = 2;

/// Descriptors of each queue.
const QUEUE_SIZE: u16 = 128;
/// Where `actual` is in the configuration (virtio 1.2, 5.5.4).
const ACTUAL: u64 = 4;

/// Whether a feature is offered to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offered {
    /// It is not.
    #[default]
    No,
    /// It is.
    Yes,
}

/// What a balloon is made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalloonOptions {
    /// Bytes that the guest is to give back at first: a multiple of 4 KiB.
    pub size: u64,
    /// The guest may take pages out of the balloon when it has no others left.
    pub deflate_on_oom: Offered,
    /// The guest may tell which pages it does not use for now.
    pub free_page_reporting: Offered,
}

/// A size that no balloon can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a balloon's size is a multiple of {PAGE_SIZE} bytes, less than 16 TiB, not {0}")]
pub struct BalloonError(pub u64);

/// A virtio memory balloon.
pub struct Balloon {
    name: String,
    features: u64,
    queue_sizes: Vec<u16>,
    /// Pages that the guest is to give back, and that it has given back as it says.
    target: AtomicU32,
    actual: AtomicU32,
    host: Arc<dyn PageReturn>,
    counters: Arc<Counters>,
}

impl Balloon {
    /// A balloon whose pages go to `host`. `name` is its id.
    ///
    /// # Errors
    /// The size is none that a balloon can have.
    pub fn new(
        name: String,
        options: BalloonOptions,
        host: Arc<dyn PageReturn>,
    ) -> Result<Self, BalloonError> {
        let reports = options.free_page_reporting == Offered::Yes;
        let on_oom = if options.deflate_on_oom == Offered::Yes { DEFLATE_ON_OOM } else { 0 };
        let queues = if reports { usize::from(REPORT) + 1 } else { 2 };
        Ok(Self {
            name,
            features: on_oom | if reports { REPORTING } else { 0 },
            queue_sizes: vec![QUEUE_SIZE; queues],
            target: AtomicU32::new(pages(options.size)?),
            actual: AtomicU32::new(0),
            host,
            counters: Arc::new(Counters::default()),
        })
    }

    /// Bytes that the guest is to give back.
    #[must_use]
    pub fn target(&self) -> u64 {
        // Relaxed, as all of both numbers: they are read for themselves, and no memory hangs on them.
        u64::from(self.target.load(Ordering::Relaxed)) * PAGE_SIZE
    }

    /// Asks the guest for as many bytes. The caller announces that the configuration has changed.
    ///
    /// # Errors
    /// The size is none that a balloon can have; the target is as it was.
    pub fn set_target(&self, bytes: u64) -> Result<(), BalloonError> {
        self.target.store(pages(bytes)?, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that the guest has given back, as it says.
    #[must_use]
    pub fn actual(&self) -> u64 {
        u64::from(self.actual.load(Ordering::Relaxed)) * PAGE_SIZE
    }
}

impl VirtioDevice for Balloon {
    fn name(&self) -> &str {
        &self.name
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Balloon
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 8];
        config[..4].copy_from_slice(&self.target.load(Ordering::Relaxed).to_le_bytes());
        config[4..].copy_from_slice(&self.actual.load(Ordering::Relaxed).to_le_bytes());
        let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(data.len());
        data.fill(0);
        data[..len].copy_from_slice(&rest[..len]);
    }

    fn write_config(&self, offset: u64, data: &[u8]) {
        // Bytes of `actual` that are not written stay, also if another vCPU writes them right now.
        let (mut mask, mut value) = ([0; 4], [0; 4]);
        for (place, byte) in (0..4_u64).zip(0..) {
            let within =
                (ACTUAL + place).checked_sub(offset).and_then(|at| usize::try_from(at).ok());
            if let Some(written) = within.and_then(|at| data.get(at)) {
                mask[byte] = 0xFF;
                value[byte] = *written;
            }
        }
        let [mask, value] = [mask, value].map(u32::from_le_bytes);
        let merge = |actual: u32| Some(actual & !mask | value);
        // Relaxed: see `target`. Always some, so it cannot fail.
        let _ = self.actual.fetch_update(Ordering::Relaxed, Ordering::Relaxed, merge);
    }

    fn activate(
        &self,
        mut activation: Activation,
    ) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        let mut lanes = Vec::new();
        for (index, purpose) in [(INFLATE, Purpose::Inflate), (DEFLATE, Purpose::Deflate)] {
            let queue = activation.take_queue(index);
            lanes.push(Lane::new(queue.ok_or(ActivationError::MissingQueue(index))?, purpose));
        }
        if activation.features.has(REPORTING) {
            let queue =
                activation.take_queue(REPORT).or_else(|| activation.take_queue(REPORT_PACKED));
            lanes.push(Lane::new(
                queue.ok_or(ActivationError::MissingQueue(REPORT))?,
                Purpose::Report,
            ));
        }
        let (host, counters) = (Arc::clone(&self.host), Arc::clone(&self.counters));
        Ok(vec![Box::new(BalloonWorker::new(lanes, host, counters))])
    }

    fn reset(&self) {
        // A driver that begins has no pages in the balloon.
        self.actual.store(0, Ordering::Relaxed);
    }

    fn save(&self) -> SavedDevice {
        let [target, actual] = [&self.target, &self.actual].map(|it| it.load(Ordering::Relaxed));
        SavedDevice::Balloon(SavedBalloon { target, actual })
    }

    fn check(&self, saved: &SavedDevice) -> Result<(), Unfit> {
        // Any number is one that a guest may have said, or have been asked for.
        if let SavedDevice::Balloon(_) = saved { Ok(()) } else { Err(saved.of_another()) }
    }

    fn restore(&self, saved: &SavedDevice) {
        let SavedDevice::Balloon(saved) = saved else { return };
        self.target.store(saved.target, Ordering::Relaxed);
        self.actual.store(saved.actual, Ordering::Relaxed);
    }
}

impl CounterSource for Balloon {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.list()
    }
}

fn pages(bytes: u64) -> Result<u32, BalloonError> {
    let pages = u32::try_from(bytes / PAGE_SIZE).ok();
    pages.filter(|_| bytes.is_multiple_of(PAGE_SIZE)).ok_or(BalloonError(bytes))
}
