//! KVM as PCI functions see it: doorbells are ioeventfds, interrupts are irqfds with MSI routes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};

use devices::event::Event;
use devices::pci::{MsiLine, MsiMessage, PciPlatform};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vcpu_state::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

use super::routes::Routes;

/// The KVM of one VM.
pub struct KvmPlatform {
    vm: Arc<VmFd>,
    routes: Arc<Routes>,
}

impl KvmPlatform {
    /// For this VM, which has its interrupt controllers.
    pub fn new(vm: &Arc<VmFd>) -> Self {
        Self { vm: Arc::clone(vm), routes: Arc::new(Routes::new(Arc::clone(vm))) }
    }
}

impl PciPlatform for KvmPlatform {
    fn add_doorbell(&self, gpa: u64, event: &Event) -> io::Result<()> {
        let event = duplicate(event)?;
        // Without a value to match, KVM takes a write of any size.
        Ok(self.vm.register_ioevent(&event, &IoEventAddress::Mmio(gpa), NoDatamatch)?)
    }

    fn remove_doorbell(&self, gpa: u64, event: &Event) -> io::Result<()> {
        let event = duplicate(event)?;
        Ok(self.vm.unregister_ioevent(&event, &IoEventAddress::Mmio(gpa), NoDatamatch)?)
    }

    fn new_msi(&self) -> io::Result<Arc<dyn MsiLine>> {
        let gsi = self.routes.take()?;
        let line = Line {
            vm: Arc::clone(&self.vm),
            routes: Arc::clone(&self.routes),
            event: Event::new()?,
            gsi,
        };
        self.vm.register_irqfd(&duplicate(&line.event)?, gsi)?;
        Ok(Arc::new(line))
    }
}

/// One message-signalled interrupt.
struct Line {
    vm: Arc<VmFd>,
    routes: Arc<Routes>,
    event: Event,
    gsi: u32,
}

impl MsiLine for Line {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        self.routes.route(self.gsi, message)
    }

    fn raise(&self) {
        self.event.notify();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Ok(event) = duplicate(&self.event) {
            // Fails only where the registration did.
            let _ = self.vm.unregister_irqfd(&event, self.gsi);
        }
        self.routes.give_back(self.gsi);
    }
}

/// The same eventfd as kvm-ioctls wants it; KVM knows it by its file, not by the number of the descriptor.
fn duplicate(event: &Event) -> io::Result<EventFd> {
    let copy = event.as_fd().try_clone_to_owned()?;
    debug_assert!(copy.as_raw_fd() >= 0);
    // SAFETY: the descriptor was just made and is owned by nobody else.
    Ok(unsafe { EventFd::from_raw_fd(copy.into_raw_fd()) })
}
