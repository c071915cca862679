//! How a device asks for its interrupt.

/// An edge on an interrupt line or an MSI.
pub trait Interrupt: Send + Sync {
    /// Raises it once. It is called by vCPU threads in the middle of an exit, so it must not
    /// block: in a VMM it is a write to a non-blocking eventfd that an irqfd listens to.
    fn raise(&self);
}
