//! KVM's interrupt controllers beside the local APICs: two 8259 and the I/O APIC.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_ioapic_state,
    kvm_irqchip, kvm_pic_state,
};
use kvm_ioctls::VmFd;
use migration::format::Unit;
use serde::{Deserialize, Serialize};

use super::mirror::{Mirror, mirror};
use crate::vm::KvmError;

mirror! {
    /// An 8259.
    Pic of kvm_pic_state {
        last_irr: u8, irr: u8, imr: u8, isr: u8, priority_add: u8, irq_base: u8, read_reg_select: u8, poll: u8,
        special_mask: u8, init_state: u8, auto_eoi: u8, rotate_on_auto_eoi: u8, special_fully_nested_mode: u8,
        init4: u8, elcr: u8, elcr_mask: u8,
    }
}

/// The I/O APIC. An edge that was not delivered yet is in `irr`, and is delivered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IoApic {
    base_address: u64,
    ioregsel: u32,
    id: u32,
    irr: u32,
    redirections: [u64; 24],
}

/// All three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IrqChips {
    master: Pic,
    slave: Pic,
    io_apic: IoApic,
}

impl Unit for IrqChips {
    const KIND: &'static str = "irqchips";
    const VERSION: u16 = 1;
}

impl IrqChips {
    /// Reads them.
    pub(super) fn get(vm: &VmFd) -> Result<Self, KvmError> {
        let pic = |chip| Ok::<_, KvmError>(Pic::of(&pic_of(&get(vm, chip)?)));
        Ok(Self {
            master: pic(KVM_IRQCHIP_PIC_MASTER)?,
            slave: pic(KVM_IRQCHIP_PIC_SLAVE)?,
            io_apic: IoApic::of(&io_apic_of(&get(vm, KVM_IRQCHIP_IOAPIC)?)),
        })
    }

    /// Writes them: after the local APICs, because the I/O APIC delivers to them what it has pending.
    pub(super) fn set(&self, vm: &VmFd) -> Result<(), KvmError> {
        for (chip_id, pic) in
            [(KVM_IRQCHIP_PIC_MASTER, &self.master), (KVM_IRQCHIP_PIC_SLAVE, &self.slave)]
        {
            let mut chip = kvm_irqchip { chip_id, ..Default::default() };
            chip.chip.pic = pic.kvm();
            set(vm, &chip)?;
        }
        let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
        chip.chip.ioapic = self.io_apic.kvm();
        set(vm, &chip)
    }
}

impl IoApic {
    fn of(kvm: &kvm_ioapic_state) -> Self {
        Self {
            base_address: kvm.base_address,
            ioregsel: kvm.ioregsel,
            id: kvm.id,
            irr: kvm.irr,
            redirections: kvm.redirtbl.map(bits_of),
        }
    }

    fn kvm(&self) -> kvm_ioapic_state {
        let mut kvm = kvm_ioapic_state {
            base_address: self.base_address,
            ioregsel: self.ioregsel,
            id: self.id,
            irr: self.irr,
            ..Default::default()
        };
        for (entry, bits) in kvm.redirtbl.iter_mut().zip(self.redirections) {
            entry.bits = bits;
        }
        kvm
    }
}

fn get(vm: &VmFd, chip_id: u32) -> Result<kvm_irqchip, KvmError> {
    let mut chip = kvm_irqchip { chip_id, ..Default::default() };
    vm.get_irqchip(&mut chip).map_err(KvmError::of("KVM_GET_IRQCHIP"))?;
    Ok(chip)
}

fn set(vm: &VmFd, chip: &kvm_irqchip) -> Result<(), KvmError> {
    vm.set_irqchip(chip).map_err(KvmError::of("KVM_SET_IRQCHIP"))
}

fn pic_of(chip: &kvm_irqchip) -> kvm_pic_state {
    // SAFETY: plain bytes, all of them initialised: every view of the union is valid.
    unsafe { chip.chip.pic }
}

fn io_apic_of(chip: &kvm_irqchip) -> kvm_ioapic_state {
    // SAFETY: as above.
    unsafe { chip.chip.ioapic }
}

fn bits_of(entry: kvm_bindings::kvm_ioapic_state__bindgen_ty_1) -> u64 {
    // SAFETY: both views are eight plain bytes.
    unsafe { entry.bits }
}
