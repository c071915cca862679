//! The PCI root bridge, its slots, and the controller that says which slot has changed.
//!
//! ```text
//!   GED._EVT ──▶ PHPR.PSCN ──▶ PCI0.PCNT ──▶ Notify(Sxx, 1: look what is there)     for each bit of PCIU
//!                                      └────▶ Notify(Sxx, 3: please eject)          for each bit of PCID
//!   Sxx._EJ0 ──▶ PHPR.PCEJ ──▶ B0EJ = bit of the slot
//! ```
//!
//! The registers are [`devices::pci::PciHotplug`]'s.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Acquire, AddressSpace, AddressSpaceCacheable, And, Arg, Device, EISAName, Field,
    FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Local, Memory32Fixed, Method,
    MethodCall, Mutex, Name, Notify, OpRegion, OpRegionSpace, Path, Release, ResourceTemplate,
    Return, ShiftLeft, Store, Zero,
};
use acpi_tables::mcfg::MCFG;

use super::nodes::Domain;
use super::pci_routing;
use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::memory::layout;
use crate::memory::layout::PciWindows;

/// Slots of the bus; the first is the host bridge's.
pub(super) const SLOTS: u8 = 32;
/// Bytes of the hotplug registers that AML uses: up, down, eject.
const HOTPLUG_REGISTERS: u32 = 12;
/// `Notify` values (ACPI 6.5, 5.6.6): device check, eject request.
pub(super) const DEVICE_CHECK: u8 = 1;
pub(super) const EJECT_REQUEST: u8 = 3;
/// How long a method waits for another one: for ever.
pub(super) const FOR_EVER: u16 = 0xFFFF;

/// Where configuration space is (PCI Firmware 3.3, 4.1.2).
pub(super) fn mcfg() -> Vec<u8> {
    let mut table = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.add_ecam(layout::ECAM.0, 0, 0, 0);
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// The bridge with its slots, and the hotplug controller.
pub(super) fn build(aml: &mut Vec<u8>, windows: PciWindows, domain: Option<Domain>) {
    hotplug_controller(aml);
    root(aml, windows, domain);
}

fn hotplug_controller(aml: &mut Vec<u8>) {
    let base = low(layout::PCI_HOTPLUG.0);
    let hid = EISAName::new("PNP0A06");
    let hid = Name::new("_HID".into(), &hid);
    let uid = Name::new("_UID".into(), &"PCI hotplug");
    // Present, enabled, working, not shown.
    let status = Name::new("_STA".into(), &0xB_u8);
    let memory = Memory32Fixed::new(true, base, HOTPLUG_REGISTERS);
    let resources = ResourceTemplate::new(vec![&memory]);
    let resources = Name::new("_CRS".into(), &resources);
    let lock = Mutex::new("PLCK".into(), 0);
    let region =
        OpRegion::new("PHRG".into(), OpRegionSpace::SystemMemory, &base, &HOTPLUG_REGISTERS);
    let named = |name: &[u8; 4]| FieldEntry::Named(*name, 32);
    let fields = Field::new(
        "PHRG".into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![named(b"PCIU"), named(b"PCID"), named(b"B0EJ")],
    );

    let (acquire, release) = (Acquire::new("PLCK".into(), FOR_EVER), Release::new("PLCK".into()));
    let eject_register = Path::new("B0EJ");
    let one_bit = ShiftLeft::new(&eject_register, &1_u8, &Arg(0));
    let done = Return::new(&Zero {});
    let eject = Method::new("PCEJ".into(), 1, true, vec![&acquire, &one_bit, &release, &done]);

    let (up, down) = (Path::new("PCIU"), Path::new("PCID"));
    let (read_up, read_down) = (Store::new(&Local(0), &up), Store::new(&Local(1), &down));
    let tell = |value, bits| MethodCall::new("\\_SB_.PCI0.DVNT".into(), vec![bits, value]);
    let tell_up = tell(&DEVICE_CHECK, &Local(0));
    let tell_down = tell(&EJECT_REQUEST, &Local(1));
    let scan = Method::new(
        "PSCN".into(),
        0,
        true,
        vec![&acquire, &read_up, &read_down, &release, &tell_up, &tell_down],
    );
    Device::new(
        "PHPR".into(),
        vec![&hid, &uid, &status, &resources, &lock, &region, &fields, &eject, &scan],
    )
    .to_aml_bytes(aml);
}

fn root(aml: &mut Vec<u8>, windows: PciWindows, domain: Option<Domain>) {
    let (hid, cid) = (EISAName::new("PNP0A08"), EISAName::new("PNP0A03"));
    let hid = Name::new("_HID".into(), &hid);
    let cid = Name::new("_CID".into(), &cid);
    let segment = Name::new("_SEG".into(), &Zero {});
    let bus = Name::new("_BBN".into(), &Zero {});
    let uid = Name::new("_UID".into(), &Zero {});
    let resources = resources(windows);
    let resources = Name::new("_CRS".into(), &Bytes(resources));
    let mut slots = Vec::new();
    for slot in 1..SLOTS {
        self::slot(&mut slots, slot);
    }
    tell_slots(&mut slots);
    let slots = Bytes(slots);
    let mut routing = Vec::new();
    pci_routing::build(&mut routing);
    let routing = Bytes(routing);
    let mut members: Vec<&dyn Aml> =
        vec![&hid, &cid, &segment, &bus, &uid, &resources, &routing, &slots];
    // Linux complains of a bus that is in no node where there are several.
    let domain = domain.map(|domain| Name::new("_PXM".into(), &domain.0));
    if let Some(domain) = &domain {
        members.push(domain);
    }
    Device::new("PCI0".into(), members).to_aml_bytes(aml);
}

/// What the bridge forwards.
fn resources(windows: PciWindows) -> Vec<u8> {
    let bus = AddressSpace::new_bus_number(0_u16, 0_u16);
    let config = acpi_tables::aml::IO::new(0xCF8, 0xCF8, 1, 8);
    let not_cacheable = || AddressSpaceCacheable::NotCacheable;
    let (start, end) = windows.low;
    let low_window =
        AddressSpace::new_memory(not_cacheable(), true, low(start), low(end - 1), None);
    let ports_below = AddressSpace::new_io(0_u16, 0xCF7, None);
    let ports_above = AddressSpace::new_io(0xD00_u16, 0xFFFF, None);
    let high_window = windows
        .high
        .map(|(start, end)| AddressSpace::new_memory(not_cacheable(), true, start, end - 1, None));
    let mut all: Vec<&dyn Aml> = vec![&bus, &config, &low_window, &ports_below, &ports_above];
    if let Some(window) = &high_window {
        all.push(window);
    }
    let mut bytes = Vec::new();
    ResourceTemplate::new(all).to_aml_bytes(&mut bytes);
    bytes
}

/// A slot that devices can come and go in.
fn slot(aml: &mut Vec<u8>, slot: u8) {
    let number = Name::new("_SUN".into(), &slot);
    // Device in the upper half, function in the lower: all functions.
    let address = (u32::from(slot) << 16) | 0xFFFF;
    let address = Name::new("_ADR".into(), &address);
    let sun = Path::new("_SUN");
    let eject = MethodCall::new("\\_SB_.PHPR.PCEJ".into(), vec![&sun]);
    let eject = Method::new("_EJ0".into(), 1, true, vec![&eject]);
    Device::new(name(slot), vec![&number, &address, &eject]).to_aml_bytes(aml);
}

/// `DVNT(bits, value)`: tells every slot whose bit is set.
fn tell_slots(aml: &mut Vec<u8>) {
    let mut body = Vec::new();
    for slot in 1..SLOTS {
        let bit = 1_u32 << slot;
        let is_set = And::new(&Zero {}, &Arg(0), &bit);
        let slot = name(slot);
        let notify = Notify::new(&slot, &Arg(1));
        If::new(&is_set, vec![&notify]).to_aml_bytes(&mut body);
    }
    Method::new("DVNT".into(), 2, true, vec![&Bytes(body)]).to_aml_bytes(aml);
}

fn name(slot: u8) -> Path {
    Path::new(&format!("S{slot:03}"))
}

/// An address that the layout keeps below 4 GiB.
pub(super) fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

/// AML that has been made already.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Aml for Bytes {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        sink.vec(&self.0);
    }
}
