//! The device end of a console: what vCPU threads and device workers touch.
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;

use super::doorbell::Doorbell;
use super::link::{ConsoleInput, ConsoleOutput};
use super::ring::Producer;
use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The device that input goes to, as long as it lives.
type Attached = Weak<dyn ConsoleInput>;

/// The device end of a console. It takes output without ever blocking, and outlives the devices
/// that are attached to it one after the other.
pub struct ConsolePort {
    /// To the console's thread; without one, output is thrown away.
    ring: Option<Producer>,
    pub(super) doorbell: Doorbell,
    attached: ArcSwapOption<Attached>,
    stopping: AtomicBool,
    /// Bytes thrown away where that is what was asked for.
    nulled: AtomicU64,
    pub(super) counts: Counts,
}

/// What `vm.counters` tells of a console.
#[derive(Default)]
pub(super) struct Counts {
    /// Bytes that the host side has taken.
    pub(super) output: AtomicU64,
    /// Bytes that it did not take in time.
    pub(super) output_dropped: AtomicU64,
    /// Bytes that the device has taken.
    pub(super) input: AtomicU64,
    /// Bytes for which neither the device nor the console had room.
    pub(super) input_dropped: AtomicU64,
    /// Clients of a socket, so far.
    pub(super) clients: AtomicU64,
}

/// Adds to a statistic; relaxed, because nothing is published by it.
pub(super) fn count(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

impl ConsolePort {
    pub(super) fn new(ring: Option<Producer>, doorbell: Doorbell) -> Self {
        Self {
            ring,
            doorbell,
            attached: ArcSwapOption::empty(),
            stopping: AtomicBool::new(false),
            nulled: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// Sends input to a device from now on, in place of the one before it. Input that waits goes
    /// to the new one as well. The console does not keep the device alive.
    pub fn attach<D: ConsoleInput + 'static>(&self, device: &Arc<D>) {
        let device: Attached = Arc::<D>::downgrade(device);
        self.attached.store(Some(Arc::new(device)));
        self.doorbell.ring();
    }

    /// The device that input goes to now.
    pub(super) fn device(&self) -> Option<Arc<dyn ConsoleInput>> {
        self.attached.load().as_ref().and_then(|device| device.upgrade())
    }

    pub(super) fn stop(&self) {
        // Release pairs with the acquire in `stopping`; the bell is rung after it, so the thread
        // cannot sleep through it.
        self.stopping.store(true, Ordering::Release);
        self.doorbell.ring();
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl ConsoleOutput for ConsolePort {
    fn send(&self, byte: u8) {
        self.send_all(&[byte]);
    }

    fn send_all(&self, bytes: &[u8]) {
        let Some(ring) = &self.ring else { return count(&self.nulled, bytes.len()) };
        let taken = ring.push_all(bytes);
        if taken > 0 {
            self.doorbell.ring_if_asleep();
        }
        if taken < bytes.len() {
            count(&self.counts.output_dropped, bytes.len() - taken);
        }
    }

    fn input_has_room(&self) {
        self.doorbell.ring();
    }
}

impl CounterSource for ConsolePort {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.counts;
        let accepted = self.ring.as_ref().map_or(&self.nulled, |_| &counts.output);
        [
            ("output_bytes", accepted),
            ("output_dropped", &counts.output_dropped),
            ("input_bytes", &counts.input),
            ("input_dropped", &counts.input_dropped),
            ("clients", &counts.clients),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
        .to_vec()
    }
}
