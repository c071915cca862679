//! A disk as the transport and the VM see it.

use std::sync::{Arc, Once};

use super::backend;
use super::config::{self, Layout, feature};
use super::counters::{Counters, count};
use super::error::BlockError;
use super::image::{Claim, Image, ImageFiles, Opened, open_image};
use super::options::{Access, BlockOptions, Engine};
use super::reach::Reach;
use super::request::{Request, SECTOR, SERIAL, Status};
use super::slot::{Durability, Rules};
use super::worker::BlockWorker;
use crate::counters::CounterSource;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::virtio::limit::Limiter;
use crate::virtio::saved::{SavedBlock, SavedDevice};
use crate::virtio::{
    Activation, ActivationError, DeviceType, Features, VirtioDevice, Virtqueue, Worker,
};

/// A block device (virtio 1.2, 5.2). Its image is opened and locked once and stays so, over any number of resets.
pub struct BlockDevice {
    options: BlockOptions,
    image: Image,
    layout: Layout,
    queue_sizes: Vec<u16>,
    serial: [u8; SERIAL],
    shared: Arc<Shared>,
}

/// What the registers and all workers of a disk share.
pub(super) struct Shared {
    /// Sectors.
    capacity: AtomicU64,
    pub access: Access,
    pub counters: Counters,
    pub limiter: Limiter,
}

impl Shared {
    pub fn capacity(&self) -> u64 {
        // Acquire: pairs with the store in `resize`, so that a worker that sees a larger disk finds a larger image.
        self.capacity.load(Ordering::Acquire)
    }

    /// Counts a request that has ended.
    pub fn account(&self, request: Option<Request>, status: Status) {
        let counters = &self.counters;
        if status != Status::Ok {
            return count(&counters.errors, 1);
        }
        match request {
            Some(Request::Read { len, .. }) => {
                count(&counters.read_ops, 1);
                count(&counters.read_bytes, len.into());
            }
            Some(Request::Write { len, .. }) => {
                count(&counters.write_ops, 1);
                count(&counters.write_bytes, len.into());
            }
            Some(Request::Flush) => count(&counters.flush_ops, 1),
            Some(Request::Discard | Request::WriteZeroes) => count(&counters.discard_ops, 1),
            Some(Request::Identify) | None => {}
        }
    }
}

impl BlockDevice {
    /// Opens and locks the image, and makes the device for it.
    ///
    /// # Errors
    /// The image cannot be had, or the options contradict themselves; the message says which and what would be right.
    pub fn open(options: BlockOptions) -> Result<Self, BlockError> {
        Self::open_as(options, Claim::Now)
    }

    /// Opens an image that another VMM has still, and makes the device for it. It is of no use before [`BlockDevice::claim`].
    ///
    /// # Errors
    /// As [`BlockDevice::open`], but for the lock.
    pub fn open_unclaimed(options: BlockOptions) -> Result<Self, BlockError> {
        Self::open_as(options, Claim::Later)
    }

    /// Makes the device of an image that another VMM has still, and has passed; the path of the options is what the image is called. It is of no use before
    /// [`BlockDevice::claim`].
    ///
    /// # Errors
    /// The files are not those of such a disk, or as [`BlockDevice::open_unclaimed`].
    pub fn open_passed(options: BlockOptions, files: ImageFiles) -> Result<Self, BlockError> {
        Self::open_as(options, Claim::Passed(files))
    }

    /// The files of its image, opened anew, for another VMM to have them by [`BlockDevice::open_passed`]. Nothing changes for this one.
    ///
    /// # Errors
    /// The host does not open one.
    pub fn files(&self) -> Result<ImageFiles, BlockError> {
        self.image.files(self.options.access, &self.options.path)
    }

    /// Makes what was written to the disk last on the host's storage. It may block; no vCPU may call it.
    ///
    /// # Errors
    /// The storage refuses.
    pub fn sync(&self) -> Result<(), BlockError> {
        self.image.sync().map_err(|source| self.not_synced(source))
    }

    /// Locks the image, unless it is locked. The VM has to stand still.
    ///
    /// # Errors
    /// Somebody else has it, or it is not the image that it was.
    pub fn claim(&self) -> Result<(), BlockError> {
        self.image.claim(&self.options)
    }

    /// Gives the image's lock up, for another VMM to take it. The VM has to stand still until [`BlockDevice::claim`], or for good.
    ///
    /// # Errors
    /// What was written cannot be made to last; the lock is kept then.
    pub fn release(&self) -> Result<(), BlockError> {
        self.image.release().map_err(|source| self.not_synced(source))
    }

    fn not_synced(&self, source: std::io::Error) -> BlockError {
        BlockError::Sync { path: self.options.path.clone(), source }
    }

    fn open_as(options: BlockOptions, claim: Claim) -> Result<Self, BlockError> {
        options.check()?;
        let serial = serial(&options)?;
        let mut options = options;
        if options.engine != Engine::Blocking && !io_uring_is_available() {
            options.engine = Engine::Blocking;
        }
        let Opened { image, len } = open_image(&options, claim)?;
        let capacity = len / u64::from(SECTOR);
        if capacity == 0 {
            return Err(BlockError::Empty { path: options.path });
        }
        let block_size = match image.reach() {
            Reach::Aligned { offset, .. } => offset.clamp(SECTOR, 4096),
            Reach::Anywhere | Reach::Private => SECTOR,
        };
        let layout =
            Layout { queue_size: options.queue_size, num_queues: options.num_queues, block_size };
        let shared = Shared {
            capacity: AtomicU64::new(capacity),
            access: options.access,
            counters: Counters::default(),
            limiter: Limiter::new(&options.limits),
        };
        let queue_sizes = vec![options.queue_size; options.num_queues.into()];
        Ok(Self { options, image, layout, queue_sizes, serial, shared: Arc::new(shared) })
    }

    /// The size of the disk in bytes: whole sectors.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.capacity() * u64::from(SECTOR)
    }

    /// Resizes the image and the disk. The caller announces the change of the configuration. It may block; no vCPU may call
    /// it.
    ///
    /// # Errors
    /// The size is none for a disk, or the host or the format refuses it; then nothing has changed.
    pub fn resize(&self, new_len: u64) -> Result<(), BlockError> {
        if new_len == 0 || !new_len.is_multiple_of(SECTOR.into()) {
            return Err(BlockError::Size(new_len));
        }
        let fail =
            |source| BlockError::Resize { path: self.options.path.clone(), len: new_len, source };
        if self.options.access == Access::ReadOnly {
            return Err(fail(std::io::Error::other("the disk is read-only")));
        }
        let old_len = self.size();
        if new_len < old_len {
            // First, so that no new request goes beyond the end.
            self.shared.capacity.store(new_len / u64::from(SECTOR), Ordering::Release);
        }
        self.image.resize(new_len).map_err(|source| {
            self.shared.capacity.store(old_len / u64::from(SECTOR), Ordering::Release);
            fail(source)
        })?;
        // Release: pairs with the load of the capacity.
        self.shared.capacity.store(new_len / u64::from(SECTOR), Ordering::Release);
        Ok(())
    }

    fn worker(&self, queue: Virtqueue, features: Features) -> Result<BlockWorker, ActivationError> {
        let host = |what| move |source| ActivationError::Host { what, source };
        let durability = if features.has(feature::FLUSH) {
            Durability::WriteBack
        } else {
            Durability::WriteThrough
        };
        let rules = Rules {
            reach: self.image.reach(),
            guard: self.image.guard(),
            durability,
            serial: self.serial,
        };
        let backend = self.image.backend(self.options.engine, queue.size());
        let backend = backend.map_err(host("prepare disk I/O"))?;
        BlockWorker::new(queue, backend, rules, Arc::clone(&self.shared))
            .map_err(host("make a disk's timer"))
    }
}

impl BlockDevice {
    fn saved(&self) -> SavedBlock {
        SavedBlock { capacity: self.shared.capacity(), block_size: self.layout.block_size }
    }
}

impl VirtioDevice for BlockDevice {
    fn name(&self) -> &str {
        &self.options.id
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn features(&self) -> u64 {
        let always = feature::SEG_MAX | feature::BLK_SIZE | feature::FLUSH | feature::TOPOLOGY;
        let access = match self.options.access {
            Access::ReadOnly => feature::RO,
            Access::ReadWrite => feature::DISCARD | feature::WRITE_ZEROES,
        };
        let queues = if self.options.num_queues > 1 { feature::MQ } else { 0 };
        always | access | queues
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        config::read(&self.layout.bytes(self.shared.capacity()), offset, data);
    }

    fn activate(&self, activation: Activation) -> Result<Vec<Box<dyn Worker>>, ActivationError> {
        let Activation { features, queues, .. } = activation;
        if !queues.iter().any(|queue| queue.index() == 0) {
            return Err(ActivationError::MissingQueue(0));
        }
        let worker = |queue| Ok(Box::new(self.worker(queue, features)?) as Box<dyn Worker>);
        queues.into_iter().map(worker).collect()
    }

    fn save(&self) -> SavedDevice {
        SavedDevice::Block(self.saved())
    }

    fn check(&self, saved: &SavedDevice) -> Result<(), Unfit> {
        let SavedDevice::Block(saved) = saved else { return Err(saved.of_another()) };
        let here = self.saved();
        Unfit::unless_same("the disk's size in sectors", &saved.capacity, &here.capacity)?;
        Unfit::unless_same("the disk's block size", &saved.block_size, &here.block_size)
    }
}

impl CounterSource for BlockDevice {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.list()
    }
}

/// The serial number, filled up with zeros.
fn serial(options: &BlockOptions) -> Result<[u8; SERIAL], BlockError> {
    let mut serial = [0; SERIAL];
    let text = match &options.serial {
        Some(text) if text.len() > SERIAL => return Err(BlockError::Serial(text.clone())),
        Some(text) => text.as_bytes(),
        None => &options.id.as_bytes()[..options.id.len().min(SERIAL)],
    };
    serial[..text.len()].copy_from_slice(text);
    Ok(serial)
}

/// Asks the host, and says once that it has none.
fn io_uring_is_available() -> bool {
    static SAID: Once = Once::new();
    match backend::is_available() {
        Ok(()) => true,
        Err(error) => {
            SAID.call_once(|| {
                tracing::warn!(%error, "this host has no io_uring: disks use blocking calls");
            });
            false
        }
    }
}
