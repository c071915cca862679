//! The power button (ACPI 6.5, 4.8.2.2.1.2): a device that the event device's method notifies. The fixed hardware has none, which
//! the FADT says.

use acpi_tables::Aml;
use acpi_tables::aml::{Device, EISAName, Name};

/// Where it is in the name space.
pub(super) const PATH: &str = "\\_SB_.PWRB";
/// What it is notified with when it was pressed (ACPI 6.5, table 5.134).
pub(super) const PRESSED: u8 = 0x80;

/// Builds it.
pub(super) fn build(aml: &mut Vec<u8>) {
    let hid = EISAName::new("PNP0C0C");
    let hid = Name::new("_HID".into(), &hid);
    let uid = Name::new("_UID".into(), &0_u8);
    Device::new("PWRB".into(), vec![&hid, &uid]).to_aml_bytes(aml);
}
