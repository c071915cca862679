//! The AML name space: processors, legacy devices, PCI with its hotplug, and the soft-off state.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;

use super::registers::SLEEP_TYPE_S5;
use super::{LegacyDevice, OEM_ID, OEM_REVISION, OEM_TABLE_ID, Platform, ged, pci};

/// 64-bit integers in AML need revision 2.
const REVISION: u8 = 2;

/// `_STA`: present, enabled, shown, working (ACPI 6.5, 6.3.7).
const PRESENT: u8 = 0xF;

pub(super) fn build(platform: &Platform<'_>) -> Vec<u8> {
    let mut system_bus = Vec::new();
    for vcpu in 0..platform.boot_vcpus {
        processor(&mut system_bus, vcpu);
    }
    for device in platform.devices {
        legacy(&mut system_bus, *device);
    }
    pci::build(&mut system_bus, platform.pci);
    ged::build(&mut system_bus);
    let mut aml = Scope::raw(Path::new("\\_SB_"), system_bus);
    let off = Package::new(vec![&SLEEP_TYPE_S5, &0u8]);
    Name::new(Path::new("\\_S5_"), &off).to_aml_bytes(&mut aml);

    let mut table = Sdt::new(*b"DSDT", 36, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&aml);
    table.as_slice().to_vec()
}

/// A processor device (ACPI 6.5, 8.4): `_UID` is what the interrupt controller table says.
fn processor(aml: &mut Vec<u8>, vcpu: u32) {
    let uid = Name::new("_UID".into(), &vcpu);
    let name = Path::new(&format!("C{vcpu:03X}"));
    let hid = Name::new("_HID".into(), &"ACPI0007");
    let status = Name::new("_STA".into(), &PRESENT);
    Device::new(name, vec![&hid, &uid, &status]).to_aml_bytes(aml);
}

struct Legacy {
    name: &'static str,
    pnp: &'static str,
    uid: u8,
    ports: (u16, u8),
    irq: u32,
    dos_name: Option<&'static str>,
}

fn legacy(aml: &mut Vec<u8>, device: LegacyDevice) {
    let Legacy { name, pnp, uid, ports: (base, len), irq, dos_name } = match device {
        LegacyDevice::Com1 => Legacy {
            name: "COM1",
            pnp: "PNP0501",
            uid: 1,
            ports: (0x3F8, 8),
            irq: 4,
            dos_name: Some("COM1"),
        },
        LegacyDevice::Com2 => Legacy {
            name: "COM2",
            pnp: "PNP0501",
            uid: 2,
            ports: (0x2F8, 8),
            irq: 3,
            dos_name: Some("COM2"),
        },
        LegacyDevice::Rtc => Legacy {
            name: "RTC_",
            pnp: "PNP0B00",
            uid: 0,
            ports: (0x70, 2),
            irq: 8,
            dos_name: None,
        },
    };
    let hid = EISAName::new(pnp);
    let hid = Name::new("_HID".into(), &hid);
    let uid = Name::new("_UID".into(), &uid);
    let status = Name::new("_STA".into(), &PRESENT);
    let io = IO::new(base, base, 1, len);
    // Consumer, edge-triggered, active high, not shared.
    let interrupt = Interrupt::new(true, true, false, false, irq);
    let resources = ResourceTemplate::new(vec![&io, &interrupt]);
    let resources = Name::new("_CRS".into(), &resources);
    let dos_name = dos_name.map(|text| Name::new("_DDN".into(), &text));
    let mut children: Vec<&dyn Aml> = vec![&hid, &uid, &status, &resources];
    if let Some(dos_name) = &dos_name {
        children.push(dos_name);
    }
    Device::new(name.into(), children).to_aml_bytes(aml);
}
