//! A virtio device's interrupts on PCI: the ISR register, and MSI-X vectors that the driver chose (virtio 1.2,
//! 4.1.4.5 and 4.1.5.1.2).

use super::generation::Generation;
use super::saved::SavedInterrupts;
use crate::pci::Msix;
use crate::saved::Unfit;
use crate::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use crate::virtio::interrupt::VirtioInterrupt;

/// VIRTIO_MSI_NO_VECTOR.
pub(super) const NO_VECTOR: u16 = 0xffff;

const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// The ISR register, the vectors, and which of them is whose.
pub(super) struct Interrupts {
    isr: AtomicU8,
    config: AtomicU16,
    queues: Box<[AtomicU16]>,
    generation: Generation,
    msix: Msix,
}

impl Interrupts {
    pub(super) fn new(msix: Msix, queues: usize) -> Self {
        Self {
            isr: AtomicU8::new(0),
            config: AtomicU16::new(NO_VECTOR),
            queues: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            generation: Generation::new(),
            msix,
        }
    }

    pub(super) fn msix(&self) -> &Msix {
        &self.msix
    }

    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What the ISR register reads; reading it clears it.
    pub(super) fn take_isr(&self) -> u8 {
        // Acquire: pairs with the release in `raise`; what the bit tells of is visible.
        self.isr.swap(0, Ordering::AcqRel)
    }

    // Relaxed: vectors are chosen before they are used, in the order of the device's word; one that is changed while it is in
    // use gets the interrupt or does not.

    pub(super) fn config_vector(&self) -> u16 {
        self.config.load(Ordering::Relaxed)
    }

    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config.store(self.usable(vector), Ordering::Relaxed);
    }

    pub(super) fn queue_vector(&self, queue: usize) -> u16 {
        self.queues.get(queue).map_or(NO_VECTOR, |vector| vector.load(Ordering::Relaxed))
    }

    pub(super) fn set_queue_vector(&self, queue: usize, vector: u16) {
        if let Some(place) = self.queues.get(queue) {
            place.store(self.usable(vector), Ordering::Relaxed);
        }
    }

    /// A vector that is not there reads back as none (4.1.5.1.2.1).
    fn usable(&self, vector: u16) -> u16 {
        if vector < self.msix.vectors() { vector } else { NO_VECTOR }
    }

    /// What the guest can tell of them, while nobody touches them; the vectors' table is the transport's to save.
    pub(super) fn save(&self) -> SavedInterrupts {
        let vectors = (0..self.queues.len()).map(|queue| self.queue_vector(queue));
        SavedInterrupts {
            isr: self.isr.load(Ordering::Acquire),
            config_vector: self.config_vector(),
            queue_vectors: vectors.collect(),
            config_generation: self.generation.number(),
        }
    }

    /// Whether they could be these.
    pub(super) fn check(&self, saved: &SavedInterrupts) -> Result<(), Unfit> {
        Unfit::unless_within("the ISR register", saved.isr, ISR_QUEUE | ISR_CONFIG)?;
        let (vectors, queues) = (saved.queue_vectors.len(), self.queues.len());
        Unfit::unless_same("the number of queues with a vector", &vectors, &queues)?;
        let mut all = saved.queue_vectors.iter().chain([&saved.config_vector]);
        match all.find(|vector| self.usable(**vector) != **vector) {
            Some(vector) => Err(Unfit::impossible("a vector", vector)),
            None => Ok(()),
        }
    }

    /// Makes them these, which were checked.
    pub(super) fn restore(&self, saved: &SavedInterrupts) {
        self.set_config_vector(saved.config_vector);
        for (queue, vector) in saved.queue_vectors.iter().enumerate() {
            self.set_queue_vector(queue, *vector);
        }
        self.generation.restore(saved.config_generation);
        self.isr.store(saved.isr, Ordering::Release);
    }

    fn raise(&self, cause: u8, vector: u16) {
        // Release: pairs with the acquire in `take_isr`.
        self.isr.fetch_or(cause, Ordering::AcqRel);
        self.msix.raise(vector);
    }
}

impl VirtioInterrupt for Interrupts {
    fn queue(&self, queue: u16) {
        self.raise(ISR_QUEUE, self.queue_vector(queue.into()));
    }

    fn config(&self) {
        self.generation.advance();
        self.raise(ISR_CONFIG, self.config_vector());
    }

    fn reset(&self) {
        let vectors = self.queues.iter().chain([&self.config]);
        vectors.for_each(|vector| vector.store(NO_VECTOR, Ordering::Relaxed));
        self.isr.store(0, Ordering::Release);
        (0..self.msix.vectors()).for_each(|vector| self.msix.forget(vector));
    }
}
