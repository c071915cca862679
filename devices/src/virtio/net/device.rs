//! The card as the transport sees it: its registers, and how it is activated.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::backend::Backend;
use super::control::ControlWorker;
use super::error::NetError;
use super::features;
use super::limit::Limit;
use super::mac::MacAddress;
use super::offloads::Offloads;
use super::options::NetOptions;
use super::pair::{PairParts, PairWorker};
use super::receive::Receiver;
use super::shared::Shared;
use super::tap::Tap;
use super::transmit::Transmitter;
use crate::counters::CounterSource;
use crate::event::Event;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::virtio::limit::Limiter;
#[cfg(test)]
use crate::virtio::limit::{Clock, Limits};
use crate::virtio::saved::{SavedDevice, SavedNet};
use crate::virtio::{
    Activation, ActivationError, Chain, DeviceType, Origin, VirtioDevice, Virtqueue, Worker,
};

/// Packets from before the activation that are thrown away at most: more than a tap holds by default (1000).
const STALE: usize = 4096;

/// A virtio network card.
pub struct Net {
    name: String,
    /// Drawn, and then another one by a restore.
    mac: AtomicU64,
    mtu: u16,
    pairs: u16,
    queue_sizes: Vec<u16>,
    features: u64,
    backend: Arc<dyn Backend>,
    shared: Arc<Shared>,
    receive_limiter: Arc<Limiter>,
    transmit_limiter: Arc<Limiter>,
}

impl Net {
    /// A card on a tap, which is made or opened and brought up. `name` is its id.
    ///
    /// # Errors
    /// The options are none that a card can have, or the host has no such tap for it: see [`NetError`].
    pub fn new(name: String, mut options: NetOptions) -> Result<Self, NetError> {
        options.check()?;
        let tap = Tap::open(&mut options)?;
        options.mtu = Some(tap.mtu());
        Self::with_backend(name, &options, Arc::new(tap))
    }

    /// A card on something else. Of the options only those matter that the guest sees.
    ///
    /// # Errors
    /// The options are none that a card can have, or the host has no randomness.
    pub fn with_backend(
        name: String,
        options: &NetOptions,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, NetError> {
        options.check()?;
        let pairs = options.pairs();
        if backend.queues().len() != usize::from(pairs) {
            return Err(NetError::Descriptors { fds: backend.queues().len(), pairs });
        }
        let mac = match options.mac {
            Some(mac) => mac,
            None => MacAddress::local(random()?),
        };
        let features = features::offered(options.offloads & backend.offloads(), pairs);
        let control = u16::from(pairs > 1);
        let queues = usize::from(2 * pairs + control);
        Ok(Self {
            name,
            mac: AtomicU64::new(packed(mac)),
            mtu: options.mtu.unwrap_or(1500),
            pairs,
            queue_sizes: vec![options.queue_size; queues],
            features,
            backend,
            shared: Arc::new(Shared::new()),
            receive_limiter: Arc::new(Limiter::new(&options.limits)),
            transmit_limiter: Arc::new(Limiter::new(&options.limits)),
        })
    }

    /// The guest's address.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        // Relaxed: it changes only before there is a driver.
        let bytes = self.mac.load(Ordering::Relaxed).to_le_bytes();
        MacAddress(bytes.first_chunk().copied().unwrap_or_default())
    }

    /// The name of the tap, also if the kernel has chosen it.
    #[must_use]
    pub fn tap(&self) -> &str {
        self.backend.name()
    }

    /// Limits each direction by a test's clock.
    #[cfg(test)]
    pub(super) fn limit(&mut self, limits: &Limits, clock: &Arc<AtomicU64>) {
        for limiter in [&mut self.receive_limiter, &mut self.transmit_limiter] {
            let clock = Clock::Manual(Arc::clone(clock));
            *limiter = Arc::new(Limiter::with_clock(limits, clock));
        }
    }

    /// Lets so many pairs take packets, which may use these offloads.
    fn prepare(&self, active: u16, offloads: Offloads) -> std::io::Result<()> {
        self.shared.set_active(active);
        self.backend.set_active(active)?;
        self.backend.set_offloads(offloads)
    }

    /// Throws away what came before the driver was there: such packets may use what it does not take.
    fn discard_stale(&self) {
        let mut packet = [0; 64];
        for _ in 0..STALE {
            // A read takes a packet off, however little of it is asked for.
            if rustix::io::read(self.backend.queues()[0].as_fd(), &mut packet).is_err() {
                break;
            }
            self.shared.counters.received.drop_one();
        }
    }
}

impl VirtioDevice for Net {
    fn name(&self) -> &str {
        &self.name
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        // struct virtio_net_config (virtio 1.2, 5.1.4).
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.mac().0);
        config[6..8].copy_from_slice(&self.shared.status().to_le_bytes());
        config[8..10].copy_from_slice(&self.pairs.to_le_bytes());
        config[10..].copy_from_slice(&self.mtu.to_le_bytes());
        let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(data.len());
        data.fill(0);
        data[..len].copy_from_slice(&rest[..len]);
    }

    fn activate(
        &self,
        mut activation: Activation,
    ) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        let host = |what| move |source| ActivationError::Host { what, source };
        let negotiated = activation.features;
        let active = match activation.origin {
            Origin::Driver => 1,
            // As it was restored.
            Origin::Restored => self.shared.active(),
        };
        let prepared = self.prepare(active, features::taken(negotiated));
        prepared.map_err(host("set up the tap's queues"))?;
        self.discard_stale();
        // Without the feature one pair is used, and the control queue would be the third (virtio 1.2, 5.1.2).
        let several = negotiated.has(features::MQ | features::CTRL_VQ);
        let pairs = if several { self.pairs } else { 1 };
        let mut workers: Vec<Box<dyn Worker>> = Vec::new();
        let mut events = Vec::new();
        for index in 0..pairs {
            let Some((receive, transmit)) = take_pair(&mut activation, index) else { break };
            let changed = Event::new().map_err(host("make an event"))?;
            let changed = Arc::new(changed);
            events.push(Arc::clone(&changed));
            let parts = PairParts {
                index,
                backend: Arc::clone(&self.backend),
                shared: Arc::clone(&self.shared),
                interrupt: Arc::clone(&activation.interrupt),
                changed,
            };
            let limits = [&self.receive_limiter, &self.transmit_limiter].map(Limit::new);
            let [receives, sends] = limits.map(|limit| limit.map_err(host("make a timer")));
            let receiver = Receiver::new(receive, receives?, negotiated, self.mtu);
            let worker = PairWorker::new(parts, receiver, Transmitter::new(transmit, sends?));
            workers.push(Box::new(worker));
        }
        if workers.is_empty() {
            let missing = u16::from(activation.take_queue(0).is_some());
            return Err(ActivationError::MissingQueue(missing));
        }
        let control = if negotiated.has(features::CTRL_VQ) { 2 * pairs } else { u16::MAX };
        if let Some(queue) = activation.take_queue(control) {
            workers.push(Box::new(ControlWorker {
                queue,
                chain: Chain::new(),
                backend: Arc::clone(&self.backend),
                shared: Arc::clone(&self.shared),
                changed: events,
            }));
        }
        Ok(workers)
    }

    fn reset(&self) {
        if let Err(error) = self.prepare(1, Offloads::NONE) {
            // The next activation tries again, and fails if it cannot be done.
            tracing::warn!(tap = self.tap(), %error, "the tap could not be reset");
        }
    }

    fn save(&self) -> SavedDevice {
        let (mac, active) = (self.mac().0, self.shared.active());
        SavedDevice::Net(SavedNet { mac, mtu: self.mtu, active })
    }

    fn check(&self, saved: &SavedDevice) -> Result<(), Unfit> {
        let SavedDevice::Net(saved) = saved else { return Err(saved.of_another()) };
        Unfit::unless_same("the card's MTU", &saved.mtu, &self.mtu)?;
        if saved.active == 0 || saved.active > self.pairs {
            return Err(Unfit::impossible("the number of queue pairs in use", saved.active));
        }
        Ok(())
    }

    fn restore(&self, saved: &SavedDevice) {
        let SavedDevice::Net(saved) = saved else { return };
        self.mac.store(packed(MacAddress(saved.mac)), Ordering::Relaxed);
        self.shared.set_active(saved.active);
    }
}

impl CounterSource for Net {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.list()
    }
}

fn packed(address: MacAddress) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&address.0);
    u64::from_le_bytes(bytes)
}

/// Both queues of a pair, if the driver has enabled them both.
fn take_pair(activation: &mut Activation, index: u16) -> Option<(Virtqueue, Virtqueue)> {
    let [receive, transmit] = [2 * index, 2 * index + 1];
    let has = |wanted| activation.queues.iter().any(|queue| queue.index() == wanted);
    if !has(receive) || !has(transmit) {
        return None;
    }
    Some((activation.take_queue(receive)?, activation.take_queue(transmit)?))
}

fn random() -> Result<[u8; 6], NetError> {
    let mut bytes = [0; 6];
    let host = |source: std::io::Error| NetError::Host { what: "draw a MAC address", source };
    let len = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| host(errno.into()))?;
    if len == bytes.len() { Ok(bytes) } else { Err(host(std::io::Error::other("too few bytes"))) }
}
