//! The memory device as the transport and the control plane see it.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use vm_memory::GuestAddress;

use super::blocks::Blocks;
use super::counters::Counters;
use super::worker::MemWorker;
use super::{BLOCK_SIZE, MemHost};
use crate::counters::CounterSource;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::virtio::saved::{SavedDevice, SavedMem};
use crate::virtio::{Activation, ActivationError, DeviceType, VirtioDevice, Worker};

/// Feature bits (virtio 1.2, 5.15.3).
pub(super) const ACPI_PXM: u64 = 1;
pub(super) const UNPLUGGED_INACCESSIBLE: u64 = 1 << 1;

/// The guest-request queue (virtio 1.2, 5.15.2).
const REQUESTS: u16 = 0;
/// Descriptors of it.
const QUEUE_SIZE: u16 = 128;
/// Bytes of the configuration (virtio 1.2, 5.15.4).
const CONFIG_SIZE: usize = 56;

/// What a memory device is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemOptions {
    /// Where its region begins: a multiple of [`BLOCK_SIZE`].
    pub gpa: GuestAddress,
    /// Bytes of its region: a multiple of [`BLOCK_SIZE`].
    pub size: u64,
    /// Bytes that are to be plugged at first: a multiple of [`BLOCK_SIZE`], at most `size`.
    pub requested: u64,
    /// The proximity domain that the region belongs to in the ACPI tables.
    pub proximity_domain: u16,
}

/// Sizes that no memory device can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemError {
    /// The region.
    #[error(
        "a region of {size} bytes at {gpa:#x}: it begins and ends at multiples of {BLOCK_SIZE} bytes, below 2^64, and is not empty"
    )]
    Region {
        /// Where it begins.
        gpa: u64,
        /// Its bytes.
        size: u64,
    },
    /// What is to be plugged.
    #[error("{requested} bytes cannot be plugged: only multiples of {BLOCK_SIZE}, up to {size}")]
    Requested {
        /// What was asked for.
        requested: u64,
        /// The bytes of the region.
        size: u64,
    },
}

/// What device and worker share, of one machine.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gpa: GuestAddress,
    pub(super) blocks: Blocks,
    /// Bytes that are to be plugged.
    pub(super) requested: Arc<AtomicU64>,
    pub(super) counters: Arc<Counters>,
}

/// The memory of one machine.
struct Machine {
    shared: Arc<Shared>,
    host: Arc<dyn MemHost>,
}

/// A virtio memory device.
pub struct MemDevice {
    name: String,
    options: MemOptions,
    requested: Arc<AtomicU64>,
    counters: Arc<Counters>,
    /// The machine that it is in. A worker of an earlier one, should it still be at it, has that one's memory and blocks.
    machine: ArcSwapOption<Machine>,
}

impl MemDevice {
    /// A device that is in no machine yet. `name` is its id.
    ///
    /// # Errors
    /// The sizes are none that it can have.
    pub fn new(name: String, options: MemOptions) -> Result<Self, MemError> {
        let MemOptions { gpa, size, requested, .. } = options;
        let aligned = gpa.0.is_multiple_of(BLOCK_SIZE) && size.is_multiple_of(BLOCK_SIZE);
        if !aligned || size == 0 || gpa.0.checked_add(size).is_none() {
            return Err(MemError::Region { gpa: gpa.0, size });
        }
        check(requested, size)?;
        Ok(Self {
            name,
            options,
            requested: Arc::new(AtomicU64::new(requested)),
            counters: Arc::default(),
            machine: ArcSwapOption::empty(),
        })
    }

    /// A machine with this memory starts: nothing is plugged in it. To be called before the device gets into it.
    pub fn start(&self, host: Arc<dyn MemHost>) {
        let shared = Arc::new(Shared {
            gpa: self.options.gpa,
            blocks: Blocks::new(self.options.size / BLOCK_SIZE),
            requested: Arc::clone(&self.requested),
            counters: Arc::clone(&self.counters),
        });
        self.machine.store(Some(Arc::new(Machine { shared, host })));
    }

    /// Bytes that are to be plugged.
    #[must_use]
    pub fn requested(&self) -> u64 {
        // Relaxed, as all of it: the number is read for itself, and no memory hangs on it.
        self.requested.load(Ordering::Relaxed)
    }

    /// Asks the guest to have as many bytes plugged. The caller announces that the configuration has changed.
    ///
    /// # Errors
    /// As many cannot be plugged; what is asked for is as it was.
    pub fn set_requested(&self, bytes: u64) -> Result<(), MemError> {
        check(bytes, self.options.size)?;
        self.requested.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that are plugged.
    #[must_use]
    pub fn plugged(&self) -> u64 {
        let machine = self.machine.load();
        machine.as_ref().map_or(0, |machine| machine.shared.blocks.plugged() * BLOCK_SIZE)
    }
}

fn check(requested: u64, size: u64) -> Result<(), MemError> {
    if requested.is_multiple_of(BLOCK_SIZE) && requested <= size {
        Ok(())
    } else {
        Err(MemError::Requested { requested, size })
    }
}

impl VirtioDevice for MemDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Mem
    }

    fn features(&self) -> u64 {
        ACPI_PXM | UNPLUGGED_INACCESSIBLE
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let MemOptions { gpa, size, proximity_domain, .. } = self.options;
        // All of the region is usable at any time.
        let words = [
            BLOCK_SIZE,
            proximity_domain.into(),
            gpa.0,
            size,
            size,
            self.plugged(),
            self.requested(),
        ];
        let mut config = [0; CONFIG_SIZE];
        for (place, word) in config.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
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
        let queue = activation.take_queue(REQUESTS);
        let queue = queue.ok_or(ActivationError::MissingQueue(REQUESTS))?;
        let machine = self.machine.load();
        let Some(Machine { shared, host }) = machine.as_deref() else {
            let source = io::Error::other("the device is in no machine");
            return Err(ActivationError::Host { what: "reach the machine's memory", source });
        };
        Ok(vec![Box::new(MemWorker::new(queue, Arc::clone(shared), Arc::clone(host)))])
    }

    // A reset changes nothing: what is plugged stays plugged (virtio 1.2, 5.15.6).

    fn save(&self) -> SavedDevice {
        let MemOptions { gpa, size, .. } = self.options;
        let machine = self.machine.load();
        let plugged = machine.as_ref().map(|machine| machine.shared.blocks.save());
        SavedDevice::Mem(SavedMem {
            gpa: gpa.0,
            size,
            requested: self.requested(),
            plugged: plugged.unwrap_or_default(),
        })
    }

    fn check(&self, saved: &SavedDevice) -> Result<(), Unfit> {
        let SavedDevice::Mem(saved) = saved else { return Err(saved.of_another()) };
        let MemOptions { gpa, size, .. } = self.options;
        let region = (saved.gpa, saved.size);
        Unfit::unless_same("the region (its start and size)", &region, &(gpa.0, size))?;
        if check(saved.requested, size).is_err() {
            return Err(Unfit::impossible("what is to be plugged", saved.requested));
        }
        let machine = self.machine.load();
        let fits = machine.as_ref().is_some_and(|one| one.shared.blocks.can_be(&saved.plugged));
        if fits { Ok(()) } else { Err(Unfit::impossible("the plugged blocks", &saved.plugged)) }
    }

    /// The memory of plugged blocks is RAM like other, and restored with it; that of others is not there.
    fn restore(&self, saved: &SavedDevice) {
        let SavedDevice::Mem(saved) = saved else { return };
        self.requested.store(saved.requested, Ordering::Relaxed);
        if let Some(machine) = &*self.machine.load() {
            machine.shared.blocks.restore(&saved.plugged);
        }
    }
}

impl CounterSource for MemDevice {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters.list()
    }
}
