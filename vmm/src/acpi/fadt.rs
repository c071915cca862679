//! The fixed description table (ACPI 6.5, 5.2.9).

use acpi_tables::Aml;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

use super::registers::{RESET_PORT, RESET_VALUE, SLEEP_CONTROL_PORT, SLEEP_STATUS_PORT};
use super::{LegacyDevice, OEM_ID, OEM_REVISION, OEM_TABLE_ID};

// IA-PC boot architecture flags (ACPI 6.5, table 5.11). The i8042 flag (bit 1) stays clear:
// Linux then neither probes for a keyboard controller nor waits for one, and reboots through
// the reset register.
const LEGACY_DEVICES: u16 = 1 << 0;
const VGA_NOT_PRESENT: u16 = 1 << 2;
const NO_ASPM_CONTROLS: u16 = 1 << 4;
const CMOS_RTC_NOT_PRESENT: u16 = 1 << 5;

pub(super) fn build(dsdt: u64, devices: &[LegacyDevice]) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::Wbinvd)
        // Set means: no power or sleep button in fixed hardware.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::HwReducedAcpi);
    let mut boot = LEGACY_DEVICES | VGA_NOT_PRESENT | NO_ASPM_CONTROLS;
    if !devices.contains(&LegacyDevice::Rtc) {
        boot |= CMOS_RTC_NOT_PRESENT;
    }
    fadt.iapc_boot_arch = boot.into();
    fadt.reset_reg = port(RESET_PORT);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port(SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = port(SLEEP_STATUS_PORT);

    let mut bytes = Vec::with_capacity(acpi_tables::fadt::FADT::len());
    fadt.finalize().to_aml_bytes(&mut bytes);
    bytes
}

fn port(number: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(number))
}
