//! KVM's table of interrupt routes, which is replaced as a whole.
//!
//! Invariants: only the PCI attendant's thread changes it; the lines of the interrupt controllers stay as
//! KVM made them; a GSI is a line of the controllers or one message-signalled interrupt, never both.

use std::io;

use arc_swap::ArcSwap;
use crossbeam_queue::SegQueue;
use devices::pci::MsiMessage;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_MSI_VALID_DEVID, KvmIrqRouting, kvm_irq_routing_entry,
};
use kvm_ioctls::{Cap, VmFd};
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU32, Ordering};

/// Pins of the I/O APIC.
const PINS: u32 = 24;
/// Pins of the two 8259s.
const PIC_PINS: u32 = 16;

/// The routes of one VM.
pub(super) struct Routes {
    vm: Arc<VmFd>,
    /// By ascending GSI.
    messages: ArcSwap<Vec<(u32, MsiMessage)>>,
    /// GSIs that were given back.
    free: SegQueue<u32>,
    /// The first GSI that was never used.
    next: AtomicU32,
    /// One past the highest.
    end: u32,
}

impl Routes {
    pub(super) fn new(vm: Arc<VmFd>) -> Self {
        // The answer is the number of routes that the table has room for.
        let room = u32::try_from(vm.check_extension_int(Cap::IrqRouting)).unwrap_or(0);
        Self {
            vm,
            messages: ArcSwap::default(),
            free: SegQueue::new(),
            next: AtomicU32::new(PINS),
            // Each pin of the 8259s has a route beside that of the I/O APIC's pin.
            end: room.saturating_sub(PIC_PINS).max(PINS),
        }
    }

    /// A GSI of one's own, without a route.
    pub(super) fn take(&self) -> io::Result<u32> {
        if let Some(gsi) = self.free.pop() {
            return Ok(gsi);
        }
        // Relaxed: it hands out numbers and publishes nothing.
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (next < self.end).then_some(next + 1)
        });
        taken
            .map_err(|all| io::Error::other(format!("KVM has no more than {all} interrupt routes")))
    }

    /// Gives a GSI back, whose irqfd is gone. Its route stays until the next change: it leads nowhere.
    pub(super) fn give_back(&self, gsi: u32) {
        self.free.push(gsi);
    }

    /// Routes a GSI. To be called by the PCI attendant's thread only.
    pub(super) fn route(&self, gsi: u32, message: Option<MsiMessage>) -> io::Result<()> {
        let now = self.messages.load();
        let mut next = Vec::with_capacity(now.len() + 1);
        next.extend(now.iter().copied().filter(|(other, _)| *other != gsi));
        next.extend(message.map(|message| (gsi, message)));
        if next == **now {
            return Ok(());
        }
        self.tell(&next)?;
        self.messages.store(Arc::new(next));
        Ok(())
    }

    fn tell(&self, messages: &[(u32, MsiMessage)]) -> io::Result<()> {
        let lines = (0..PIC_PINS).map(|gsi| {
            let chip = if gsi < 8 { KVM_IRQCHIP_PIC_MASTER } else { KVM_IRQCHIP_PIC_SLAVE };
            line(gsi, chip, gsi % 8)
        });
        let lines = lines.chain((0..PINS).map(|gsi| line(gsi, KVM_IRQCHIP_IOAPIC, gsi)));
        let entries: Vec<_> =
            lines.chain(messages.iter().map(|(gsi, message)| msi(*gsi, *message))).collect();
        let table = KvmIrqRouting::from_entries(&entries).map_err(io::Error::other)?;
        Ok(self.vm.set_gsi_routing(&table)?)
    }
}

fn line(gsi: u32, chip: u32, pin: u32) -> kvm_irq_routing_entry {
    let mut entry =
        kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
    entry.u.irqchip.irqchip = chip;
    entry.u.irqchip.pin = pin;
    entry
}

fn msi(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    // The x86 KVM knows no device ids.
    const { assert!(KVM_MSI_VALID_DEVID == 1) };
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    let halves = [message.address & u64::from(u32::MAX), message.address >> 32];
    // Halves of 64 bits fit.
    let [low, high] = halves.map(|half| u32::try_from(half).unwrap_or_default());
    entry.u.msi.address_lo = low;
    entry.u.msi.address_hi = high;
    entry.u.msi.data = message.data;
    entry
}
