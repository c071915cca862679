//! How a virtio device interrupts its driver.

/// A device's interrupts; the transport decides which vector each of them is. Never blocks.
pub trait VirtioInterrupt: Send + Sync {
    /// Buffers of this queue have been used (virtio 1.2, 2.3).
    fn queue(&self, queue: u16);

    /// The device's configuration, or its status by DEVICE_NEEDS_RESET, has changed.
    fn config(&self);

    /// The device has been reset: the driver that chose vectors and had causes to read is gone. Called by the
    /// activator's thread.
    fn reset(&self) {}
}
