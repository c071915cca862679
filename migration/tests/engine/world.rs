//! The world that both VMs live in: it sees whether two of them run, and who has the disks.

use migration::engine::VmError;
use vcpu_state::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Who has the disks.
pub const NOBODY: u8 = 0;
pub const SOURCE: u8 = 1;
pub const DESTINATION: u8 = 2;

/// What both VMs share: their disks, and the count of those that run.
#[derive(Default)]
pub struct World {
    running: AtomicU32,
    most: AtomicU32,
    pub disks: AtomicU8,
}

impl World {
    pub fn run(&self) {
        let now = self.running.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(now, Ordering::AcqRel);
    }

    pub fn stop(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
    }

    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Acquire)
    }

    /// The most VMs that ever ran at once.
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Acquire)
    }

    pub fn take(&self, who: u8) -> Result<(), VmError> {
        match self.disks.compare_exchange(NOBODY, who, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(owner) if owner == who => Ok(()),
            Err(_) => Err("somebody has the disks".into()),
        }
    }

    pub fn give(&self, who: u8) {
        let _ = self.disks.compare_exchange(who, NOBODY, Ordering::AcqRel, Ordering::Acquire);
    }
}
