//! Guest RAM as devices see it: checked mappings, which only workers and the activator touch, and which remember what
//! was written through them while somebody wants to know. What has still to come is waited for before it is touched.

mod populate;
mod region;
mod region_log;
#[cfg(test)]
mod tests;
mod write_log;

use vm_memory::VolatileSlice;

pub use region::{GuestRegion, Presence, anonymous, set_presence};
pub use region_log::{LogSlice, PAGE, RegionLog};
pub use write_log::{WriteLog, wrote};

/// Guest RAM. Clones are handles on the same memory.
pub type GuestMemory = vm_memory::GuestRegionCollection<GuestRegion>;

/// A contiguous part of it, mapped.
pub type GuestSlice<'m> = VolatileSlice<'m, LogSlice<'m>>;
