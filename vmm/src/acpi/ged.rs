//! The Generic Event Device (ACPI 6.5, 5.6.9): the one interrupt that tells the guest to look at a controller.

use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Interrupt,
    Local, Method, MethodCall, Name, Notify, OpRegion, OpRegionSpace, Path, ResourceTemplate,
    Store, Zero,
};
use devices::ged::GedEvent;

use super::power_button;
use crate::memory::layout;

/// Builds it. Reading the register clears it.
pub(super) fn build(aml: &mut Vec<u8>) {
    // The layout keeps it below 4 GiB.
    let base = u32::try_from(layout::GED.0).unwrap_or(u32::MAX);
    let hid = Name::new("_HID".into(), &"ACPI0013");
    let uid = Name::new("_UID".into(), &0_u8);
    // Consumer, edge-triggered, active high, not shared. Nothing but interrupts may be in here (ACPI 6.5, 5.6.9.2): Linux gives the
    // device up when it finds anything else. The memory map reserves the register.
    let interrupt = Interrupt::new(true, true, false, false, layout::GED_GSI);
    let resources = ResourceTemplate::new(vec![&interrupt]);
    let resources = Name::new("_CRS".into(), &resources);
    let region = OpRegion::new("GRGN".into(), OpRegionSpace::SystemMemory, &base, &4_u8);
    let fields = Field::new(
        "GRGN".into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![FieldEntry::Named(*b"GEVT", 32)],
    );
    let register = Path::new("GEVT");
    let read = Store::new(&Local(0), &register);
    let pci_bit = GedEvent::PciHotplug.bit();
    let is_pci = And::new(&Zero {}, &Local(0), &pci_bit);
    let scan = MethodCall::new("\\_SB_.PHPR.PSCN".into(), vec![]);
    let pci = If::new(&is_pci, vec![&scan]);
    let cpu_bit = GedEvent::CpuHotplug.bit();
    let is_cpu = And::new(&Zero {}, &Local(0), &cpu_bit);
    let scan = MethodCall::new("\\_SB_.CPHP.CSCN".into(), vec![]);
    let cpu = If::new(&is_cpu, vec![&scan]);
    let button_bit = GedEvent::PowerButton.bit();
    let is_button = And::new(&Zero {}, &Local(0), &button_bit);
    let button = Path::new(power_button::PATH);
    let press = Notify::new(&button, &power_button::PRESSED);
    let press = If::new(&is_button, vec![&press]);
    let event = Method::new("_EVT".into(), 1, true, vec![&read, &pci, &cpu, &press]);
    Device::new("GED0".into(), vec![&hid, &uid, &resources, &region, &fields, &event])
        .to_aml_bytes(aml);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its register among the resources Linux said "unable to parse IRQ resource" and had no hotplug.
    #[test]
    fn the_event_device_has_its_interrupt_for_a_resource_and_nothing_else() {
        const INTERRUPT: u8 = 0x89;
        const END: u8 = 0x79;
        let mut aml = Vec::new();
        build(&mut aml);
        let at = aml.windows(4).position(|name| name == b"_CRS").unwrap();
        // The name, a buffer of less than 64 bytes, how many they are (a byte), they.
        let [0x11, _, 0x0A, length, ref resources @ ..] = aml[at + 4..] else {
            panic!("no buffer")
        };
        let resources = &resources[..usize::from(length)];
        assert_eq!(resources[0], INTERRUPT);
        let length = usize::from(u16::from_le_bytes([resources[1], resources[2]]));
        assert_eq!(resources[3 + length], END);
    }
}
