//! Processors that come and go, and the controller that says which.
//!
//! ```text
//!   GED._EVT ──▶ CPHP.CSCN ──▶ CTFY ──▶ Notify(Cxxx, 1: look what is there)     for each INSERTING
//!                                 └───▶ Notify(Cxxx, 3: please eject)           for each REMOVING
//!   Cxxx._STA ─▶ CPHP.CPST ──▶ ENABLED            Cxxx._EJ0 ──▶ CPHP.CPEJ ──▶ EJECT
//! ```
//!
//! The registers are [`devices::cpu_hotplug::CpuHotplugController`]'s. CLCK keeps one method's use of the selection from another's.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Acquire, And, Arg, BufferData, Device, EISAName, Equal, Field, FieldAccessType, FieldEntry,
    FieldLockRule, FieldUpdateRule, If, Local, Memory32Fixed, Method, MethodCall, Mutex, Name,
    NotEqual, Notify, OpRegion, OpRegionSpace, Path, Release, ResourceTemplate, Return, Store,
    While, Zero,
};

use super::madt;
use super::pci::{Bytes, DEVICE_CHECK, EJECT_REQUEST, FOR_EVER, low};
use crate::cpuid::ApicId;
use crate::memory::layout;

/// Bytes of the registers that AML uses: selection, status, command.
const REGISTERS: u32 = 12;
/// The selection while nothing is selected.
const NONE: u32 = u32::MAX;
/// Bits of the status.
const ENABLED: u8 = 1;
const INSERTING: u8 = 1 << 1;
const REMOVING: u8 = 1 << 2;
const EJECT: u8 = 1 << 3;
/// `_STA`: present, enabled, shown, working (ACPI 6.5, 6.3.7).
const PRESENT: u8 = 0xF;

/// A processor's name.
pub(super) fn name(vcpu: u32) -> Path {
    Path::new(&format!("C{vcpu:03X}"))
}

/// What makes a processor device one that comes and goes (ACPI 6.5, 8.4): `_STA`, `_MAT` and, unless the guest boots on it, `_EJ0`.
pub(super) fn methods(vcpu: u32, id: ApicId) -> Bytes {
    let mut aml = Vec::new();
    let status = MethodCall::new("\\_SB_.CPHP.CPST".into(), vec![&vcpu]);
    let status = Return::new(&status);
    Method::new("_STA".into(), 0, true, vec![&status]).to_aml_bytes(&mut aml);
    let entry = BufferData::new(madt::entry(vcpu, id));
    Name::new("_MAT".into(), &entry).to_aml_bytes(&mut aml);
    if vcpu != 0 {
        let eject = MethodCall::new("\\_SB_.CPHP.CPEJ".into(), vec![&vcpu]);
        Method::new("_EJ0".into(), 1, true, vec![&eject]).to_aml_bytes(&mut aml);
    }
    Bytes(aml)
}

/// The controller, for so many processors.
pub(super) fn build(aml: &mut Vec<u8>, vcpus: u32) {
    let base = low(layout::CPU_HOTPLUG.0);
    let hid = EISAName::new("PNP0A06");
    let hid = Name::new("_HID".into(), &hid);
    let uid = Name::new("_UID".into(), &"CPU hotplug");
    // Present, enabled, working, not shown.
    let status = Name::new("_STA".into(), &0xB_u8);
    let memory = Memory32Fixed::new(true, base, REGISTERS);
    let resources = ResourceTemplate::new(vec![&memory]);
    let resources = Name::new("_CRS".into(), &resources);
    let lock = Mutex::new("CLCK".into(), 0);
    let region = OpRegion::new("CRGN".into(), OpRegionSpace::SystemMemory, &base, &REGISTERS);
    let named = |name: &[u8; 4]| FieldEntry::Named(*name, 32);
    let fields = Field::new(
        "CRGN".into(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![named(b"CSEL"), named(b"CSTS"), named(b"CCMD")],
    );
    let methods = Bytes([status_of(), eject(), scan(), tell(vcpus)].concat());
    Device::new(
        "CPHP".into(),
        vec![&hid, &uid, &status, &resources, &lock, &region, &fields, &methods],
    )
    .to_aml_bytes(aml);
}

fn lock() -> (Acquire, Release) {
    (Acquire::new("CLCK".into(), FOR_EVER), Release::new("CLCK".into()))
}

/// `CPST(vCPU)`: its `_STA`.
fn status_of() -> Vec<u8> {
    let ((acquire, release), [select, status]) = (lock(), ["CSEL", "CSTS"].map(Path::new));
    let selected = Store::new(&select, &Arg(0));
    let read = Store::new(&Local(0), &status);
    let absent = Store::new(&Local(1), &Zero {});
    let is_enabled = And::new(&Zero {}, &Local(0), &ENABLED);
    let present = Store::new(&Local(1), &PRESENT);
    let present = If::new(&is_enabled, vec![&present]);
    let done = Return::new(&Local(1));
    let body: Vec<&dyn Aml> = vec![&acquire, &selected, &read, &release, &absent, &present, &done];
    bytes_of(&Method::new("CPST".into(), 1, true, body))
}

/// `CPEJ(vCPU)`.
fn eject() -> Vec<u8> {
    let ((acquire, release), [select, status]) = (lock(), ["CSEL", "CSTS"].map(Path::new));
    let selected = Store::new(&select, &Arg(0));
    let ejected = Store::new(&status, &EJECT);
    let body: Vec<&dyn Aml> = vec![&acquire, &selected, &ejected, &release];
    bytes_of(&Method::new("CPEJ".into(), 1, true, body))
}

/// `CSCN()`: notifies every processor that has news. The news are acknowledged before, so that none is missed which comes meanwhile.
fn scan() -> Vec<u8> {
    let ((acquire, release), [select, status, command]) =
        (lock(), ["CSEL", "CSTS", "CCMD"].map(Path::new));
    let next = Store::new(&command, &Zero {});
    let read_selected = Store::new(&Local(0), &select);
    let read = Store::new(&Local(1), &status);
    let news = INSERTING | REMOVING;
    let heard = And::new(&status, &Local(1), &news);
    let tell = |bit: u8, value: u8| {
        let is_set = And::new(&Zero {}, &Local(1), &bit);
        let tell = MethodCall::new("CTFY".into(), vec![&Local(0), &value]);
        Bytes(bytes_of(&If::new(&is_set, vec![&tell])))
    };
    let (came, go) = (tell(INSERTING, DEVICE_CHECK), tell(REMOVING, EJECT_REQUEST));
    let is_one = NotEqual::new(&Local(0), &NONE);
    let steps: Vec<&dyn Aml> = vec![&read, &heard, &came, &go, &next, &read_selected];
    let each = While::new(&is_one, steps);
    let body: Vec<&dyn Aml> = vec![&acquire, &next, &read_selected, &each, &release];
    bytes_of(&Method::new("CSCN".into(), 0, true, body))
}

/// `CTFY(vCPU, value)`.
fn tell(vcpus: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for vcpu in 0..vcpus {
        let is_it = Equal::new(&Arg(0), &vcpu);
        let processor = Path::new(&format!("\\_SB_.C{vcpu:03X}"));
        let notify = Notify::new(&processor, &Arg(1));
        If::new(&is_it, vec![&notify]).to_aml_bytes(&mut body);
    }
    bytes_of(&Method::new("CTFY".into(), 2, true, vec![&Bytes(body)]))
}

fn bytes_of(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}
