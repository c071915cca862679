//! What a driver can do wrong in a ring.

/// A driver broke the rules of the ring or of its device; the device stops and asks to be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The ring's available index runs ahead of the ring.
    #[error("the available index is more than a ring ahead")]
    AvailableIndex,
    /// The ring itself lies outside of RAM, or is not ready.
    #[error("the ring is not in RAM")]
    Ring,
    /// A chain has no end, or refers to a descriptor or indirect table that does not exist.
    #[error("a chain of descriptors is broken")]
    Chain,
    /// A descriptor that the device may read follows one that it may write (virtio 1.2, 2.7.4.2).
    #[error("a readable descriptor follows a writable one")]
    Order,
    /// A buffer lies outside of RAM.
    #[error("a buffer is not in RAM")]
    Buffer,
    /// The request does not have the shape that the device type demands.
    #[error("the request has not the shape that the device demands: {0}")]
    Shape(&'static str),
}
