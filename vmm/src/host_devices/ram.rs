//! Guest RAM as a balloon gives it back: the balloon outlives reboots, the RAM does not.

use std::io;

use arc_swap::ArcSwapOption;
use devices::virtio::balloon::PageReturn;
use vcpu_state::sync::Arc;
use vm_memory::GuestAddress;

use crate::memory::GuestRam;

/// The RAM of the VM that the balloon is in now.
#[derive(Default)]
pub(super) struct BalloonRam(ArcSwapOption<GuestRam>);

impl BalloonRam {
    /// The balloon gets into another VM.
    pub(super) fn meet(&self, ram: &GuestRam) {
        self.0.store(Some(Arc::new(ram.clone())));
    }
}

impl PageReturn for BalloonRam {
    fn discard(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        match &*self.0.load() {
            Some(ram) => ram.discard_range(gpa, len),
            None => Err(io::Error::other("the balloon is in no VM")),
        }
    }
}
