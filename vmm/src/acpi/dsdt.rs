//! The AML name space: processors, legacy devices, PCI with its hotplug, and the soft-off state.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;
use devices::pvpanic::PvPanic;

use super::registers::SLEEP_TYPE_S5;
use super::{
    LegacyDevice, OEM_ID, OEM_REVISION, OEM_TABLE_ID, Platform, cpus, ged, pci, power_button,
};
use crate::cpuid::TopologyError;

/// 64-bit integers in AML need revision 2.
const REVISION: u8 = 2;

/// `_STA`: present, enabled, shown, working (ACPI 6.5, 6.3.7).
const PRESENT: u8 = 0xF;

pub(super) fn build(platform: &Platform<'_>) -> Result<Vec<u8>, TopologyError> {
    let mut system_bus = Vec::new();
    for vcpu in 0..platform.topology.vcpus() {
        processor(&mut system_bus, vcpu, platform)?;
    }
    cpus::build(&mut system_bus, platform.topology.vcpus());
    for device in platform.devices {
        legacy(&mut system_bus, *device);
    }
    pci::build(&mut system_bus, platform.pci, platform.nodes.of_pci());
    ged::build(&mut system_bus);
    power_button::build(&mut system_bus);
    let mut aml = Scope::raw(Path::new("\\_SB_"), system_bus);
    let off = Package::new(vec![&SLEEP_TYPE_S5, &0u8]);
    Name::new(Path::new("\\_S5_"), &off).to_aml_bytes(&mut aml);

    let mut table = Sdt::new(*b"DSDT", 36, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.append_slice(&aml);
    Ok(table.as_slice().to_vec())
}

/// A processor device (ACPI 6.5, 8.4): `_UID` is what the interrupt controller table says, `_PXM` what the table of affinities says.
fn processor(aml: &mut Vec<u8>, vcpu: u32, platform: &Platform<'_>) -> Result<(), TopologyError> {
    let id = platform.topology.apic_id(vcpu)?;
    let uid = Name::new("_UID".into(), &vcpu);
    let hid = Name::new("_HID".into(), &"ACPI0007");
    let hotplug = cpus::methods(vcpu, id);
    let domain = Name::new("_PXM".into(), &platform.nodes.of_vcpu(vcpu).0);
    let mut members: Vec<&dyn Aml> = vec![&hid, &uid, &hotplug];
    if platform.nodes.exist() {
        members.push(&domain);
    }
    Device::new(cpus::name(vcpu), members).to_aml_bytes(aml);
    Ok(())
}

fn legacy(aml: &mut Vec<u8>, device: LegacyDevice) {
    let status = Name::new("_STA".into(), &PRESENT);
    match device {
        LegacyDevice::Com1 => {
            let dos_name = Name::new("_DDN".into(), &"COM1");
            let resources = resources((0x3F8, 8), Some(4));
            isa(aml, "COM1", ("PNP0501", 1), &[&status, &resources, &dos_name]);
        }
        LegacyDevice::Rtc => {
            let resources = resources((0x70, 2), Some(8));
            isa(aml, "RTC_", ("PNP0B00", 0), &[&status, &resources]);
        }
        LegacyDevice::PvPanic => {
            let hid = Name::new("_HID".into(), &PvPanic::ACPI_ID);
            // The only port of the range, which the device publishes.
            let port = u16::try_from(PvPanic::PORTS.first()).unwrap_or(u16::MAX);
            let resources = resources((port, 1), None);
            Device::new("PEVT".into(), vec![&hid, &status, &resources]).to_aml_bytes(aml);
        }
    }
}

fn isa(aml: &mut Vec<u8>, name: &str, (pnp, uid): (&str, u8), others: &[&dyn Aml]) {
    let hid = EISAName::new(pnp);
    let hid = Name::new("_HID".into(), &hid);
    let uid = Name::new("_UID".into(), &uid);
    let children = [&hid as &dyn Aml, &uid].into_iter().chain(others.iter().copied()).collect();
    Device::new(name.into(), children).to_aml_bytes(aml);
}

/// `_CRS`: ports from a base on, and an interrupt line.
fn resources((base, len): (u16, u8), irq: Option<u32>) -> Name {
    let io = IO::new(base, base, 1, len);
    // Consumer, edge-triggered, active high, not shared.
    let interrupt = irq.map(|irq| Interrupt::new(true, true, false, false, irq));
    let mut all: Vec<&dyn Aml> = vec![&io];
    if let Some(interrupt) = &interrupt {
        all.push(interrupt);
    }
    Name::new("_CRS".into(), &ResourceTemplate::new(all))
}
