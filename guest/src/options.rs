//! The guest's command line.

use crate::Mode;
use std::fmt;

/// What the guest is told at boot; its text form is the command line.
///
/// ```
/// use stillpoint_guest::{Mode, Options};
///
/// let options = Options { mode: Mode::Busy, quiet: true, ..Options::new(8) };
/// assert_eq!(options.to_string(), "vcpus=8 mode=busy tick=0 quiet");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// vCPUs that the guest waits for before it says that it runs: 1 to
    /// [`MAX_VCPUS`](crate::layout::MAX_VCPUS); the guest takes the nearest of these.
    pub vcpus: u32,
    /// The mode that all vCPUs enter once they are up.
    pub mode: Mode,
    /// LAPIC timer ticks a second on each vCPU, 0 for none; at most
    /// [`MAX_TICK_HZ`](crate::layout::MAX_TICK_HZ).
    pub tick_hz: u32,
    /// No banner.
    pub quiet: bool,
}

impl Options {
    /// This many vCPUs, halted, without ticks, with a banner.
    pub const fn new(vcpus: u32) -> Self {
        Self { vcpus, mode: Mode::Halt, tick_hz: 0, quiet: false }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vcpus={} mode={} tick={}", self.vcpus, self.mode.name(), self.tick_hz)?;
        if self.quiet { f.write_str(" quiet") } else { Ok(()) }
    }
}
