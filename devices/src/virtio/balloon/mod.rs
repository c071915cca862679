//! A virtio memory balloon (virtio 1.2, section 5.5).
//!
//! ```text
//!   control plane ── set_target ──▶ num_pages ─┐ (then it announces the change)
//!                                              ├──▶ configuration ◀── driver: actual
//!   inflateq: page numbers ─▶ runs ─▶ PageReturn::discard ─▶ host
//!   deflateq: page numbers ─▶ (nothing: a page comes back, zeroed, when the guest touches it)
//!   reporting_vq: free ranges ─▶ PageReturn::discard ─▶ host
//! ```
//!
//! Invariants:
//! - Only whole pages in the guest's RAM are given back, and only those that the driver names in a request that it has not got back.
//! - A call looks at a bounded number of page numbers, however long the request is. A request that a pause meets half way is begun
//!   again after it: giving a page back twice is giving it back.
//! - A page number outside of RAM is counted and has no other effect. The specification forbids it to the driver and asks nothing of
//!   the device; a driver that is wrong about one page can go on.

mod counters;
mod device;
mod pages;
#[cfg(test)]
mod tests;
mod worker;

pub use device::{Balloon, BalloonError, BalloonOptions, Offered};
pub use pages::{PAGE_SIZE, PageReturn};
