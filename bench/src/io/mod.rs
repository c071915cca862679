//! Device I/O: what a guest's driver gets done, next to what a plain program does on the same host in the same run.
//!
//! ```text
//!   block:    driver guest ─ virtqueue ─ worker ─ io_uring ─┐
//!                                                            ├ the same file on tmpfs, in turns
//!             plain program ──────────────────── io_uring ───┘
//!   net:      driver guest ─ virtqueue ─ worker ─ readv, writev ─┐
//!                                                                 ├ the same tap, in turns
//!             plain program ───────────────────── read, write ────┘
//!   dispatch: the way of an MMIO exit through user space, without KVM
//!   exits:    an exit's whole round trip, with bare KVM calls and with Stillpoint
//!   registers: pauses of a guest at registers, next to pauses of one that does no MMIO
//! ```

mod block;
mod dispatch;
mod exits;
mod guest;
mod host;
mod net;
mod registers;
mod tap;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::report::Table;

/// What is measured, and for how long.
pub struct Plan {
    /// How long each side of a case runs at a time.
    pub window: Duration,
    /// Turns of each side; the medians are shown.
    pub turns: usize,
    /// Where the image is made; on tmpfs, or the disk is measured.
    pub dir: PathBuf,
}

/// Block requests, guest and plain program.
pub fn block(plan: &Plan) -> Result<Table> {
    block::measure(plan)
}

/// Packets, guest and plain program.
pub fn net(plan: &Plan) -> Result<Table> {
    net::measure(plan)
}

/// Nanoseconds of an exit in user space.
pub fn dispatch() -> Result<Table> {
    dispatch::measure()
}

/// Pauses of a guest at registers, and of one that is not.
pub fn registers(plan: &Plan) -> Result<Table> {
    registers::measure(plan)
}

/// Nanoseconds of an exit altogether.
pub fn exits() -> Result<Table> {
    exits::measure()
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
