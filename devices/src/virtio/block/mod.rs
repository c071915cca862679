//! Disks: the block device (virtio 1.2, section 5.2), its images and what moves their data.
//!
//! ```text
//!   ring ─▶ worker ─▶ slot ─▶ transfer ─▶ backend: io_uring │ blocking calls │ an image's thread ─▶ image
//!             ▲         │                                                                           │
//!             └─────────┴──────────────── completion, next operation, status ◀──────────────────────┘
//! ```
//!
//! One worker for each queue; all of a disk's workers share its image, counters and limits, by atomics only. What the
//! image is, and that nobody else writes it, is settled when the device is made ([`BlockDevice::open`]).
//!
//! Invariants: a request ends with a status, whatever the host says; the guest reaches no byte beyond the disk; the
//! bytes of an operation have an owner until the host has finished with them.

mod backend;
mod config;
mod counters;
mod device;
mod error;
mod image;
mod options;
mod reach;
mod request;
mod slot;
#[cfg(test)]
mod tests;
mod transfer;
mod worker;

pub use device::BlockDevice;
pub use error::BlockError;
pub use image::ImageFiles;
pub use options::{Access, BackingFiles, BlockOptions, Caching, Engine, ImageType};
