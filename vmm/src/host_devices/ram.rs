//! Guest RAM as a balloon gives it back, and as it is plugged: the devices outlive reboots, the RAM does not.

use std::io;

use arc_swap::ArcSwapOption;
use devices::virtio::balloon::PageReturn;
use devices::virtio::mem::MemHost;
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

/// The RAM of one VM, of which blocks are plugged and unplugged.
pub(super) struct HotRam(pub(super) GuestRam);

impl MemHost for HotRam {
    fn plug(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.0.renew_range(gpa, len)
    }

    fn unplug(&self, gpa: GuestAddress, len: u64) -> io::Result<()> {
        self.0.discard_range(gpa, len)
    }
}

#[cfg(test)]
mod tests {
    use devices::virtio::balloon::{Balloon, BalloonOptions, Offered};

    use super::*;
    use crate::config::MemoryConfig;
    use crate::host_devices::{HostDevice, Kind};

    /// Nobody had told it: every page that a guest gave back was an error, and stayed with the VM.
    #[test]
    fn a_balloon_knows_the_ram_of_the_vm_that_it_is_plugged_into() {
        let config = MemoryConfig { size: 2 << 20, ..MemoryConfig::default() };
        let ram = GuestRam::new(&config, 46).unwrap();
        let of = Arc::new(BalloonRam::default());
        let options = BalloonOptions {
            size: 0,
            deflate_on_oom: Offered::No,
            free_page_reporting: Offered::No,
        };
        let balloon = Balloon::new("balloon".to_owned(), options, Arc::clone(&of) as _).unwrap();
        let kind = Kind::Balloon(Arc::new(balloon), Arc::clone(&of));
        let device = HostDevice { id: "balloon".to_owned(), kind };
        of.discard(GuestAddress(0), 4096).unwrap_err();

        let _ = device.virtio(&ram);

        of.discard(GuestAddress(0), 4096).unwrap();
    }
}
