//! The guest's physical address map, as far as it is the same for every VM.

use vm_memory::GuestAddress;

/// Bytes of a page that the processor maps with a bottom-level entry.
pub const PAGE_SIZE: u64 = 4096;

/// First address that is no RAM: the start of the 32-bit hole (3 GiB).
pub const HOLE_START: GuestAddress = GuestAddress(3 << 30);

/// First address after the 32-bit hole (4 GiB), where RAM goes on.
pub const HOLE_END: GuestAddress = GuestAddress(4 << 30);

/// The end of the part of the hole that is PCI's, where functions' registers go (0xC000_0000 to 0xEFFF_FFFF).
pub const PCI_END: GuestAddress = GuestAddress(0xF000_0000);

/// PCI configuration space as memory (ECAM): one bus, 32 devices of 8 functions with 4 KiB each.
pub const ECAM: GuestAddress = GuestAddress(0xF000_0000);

/// Bytes of it.
pub const ECAM_SIZE: u64 = 1 << 20;

/// The registers through which PCI devices come and go.
pub const PCI_HOTPLUG: GuestAddress = GuestAddress(0xF010_0000);

/// The register that says what the guest is to look at.
pub const GED: GuestAddress = GuestAddress(0xF010_1000);

/// The registers through which vCPUs come and go.
pub const CPU_HOTPLUG: GuestAddress = GuestAddress(0xF010_2000);

/// The end of these registers, a page each.
pub const REGISTERS_END: GuestAddress = GuestAddress(0xF010_3000);

/// The interrupt line of [`GED`]: the one that a PC has for its power management events.
pub const GED_GSI: u32 = 9;

/// The upper part of the hole that belongs to the platform itself: I/O APIC, local APICs, and
/// the pages that KVM wants for itself. The memory map calls it reserved.
pub const PLATFORM_START: GuestAddress = GuestAddress(0xFEC0_0000);

/// The I/O APIC's registers (the customary address; KVM's in-kernel model sits there).
pub const IOAPIC: GuestAddress = GuestAddress(0xFEC0_0000);

/// The local APICs' registers after reset (Intel SDM volume 3, 11.4.1).
pub const LOCAL_APIC: GuestAddress = GuestAddress(0xFEE0_0000);

/// The end of conventional memory; the last KiB below it is the extended BIOS data area's.
pub const EBDA_START: GuestAddress = GuestAddress(0x9_FC00);

/// First address after conventional memory. From here to 1 MiB a PC has video memory and ROMs;
/// this machine has its ACPI tables.
pub const ACPI_TABLES: GuestAddress = GuestAddress(0xA_0000);

/// The ACPI root pointer, where a search of the BIOS area finds it, too (ACPI 6.5, 5.2.5.1).
/// The tables end before it.
pub const RSDP: GuestAddress = GuestAddress(0xE_0000);

/// First address after the ACPI area, where a PC has its BIOS.
pub const FIRMWARE: GuestAddress = GuestAddress(0xF_0000);

/// F000:FFF0, where a guest jumps that wants the BIOS to restart the machine.
pub const RESET_VECTOR: GuestAddress = GuestAddress(0xF_FFF0);

/// 1 MiB: kernels go here or higher, the boot structures go below.
pub const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);

/// A page for `KVM_SET_IDENTITY_MAP_ADDR`; Intel hosts without "unrestricted guest" need it.
pub const KVM_IDENTITY_MAP: GuestAddress = GuestAddress(0xFFFB_C000);

/// Three pages for `KVM_SET_TSS_ADDR`, right after the identity map's.
pub const KVM_TSS: GuestAddress = GuestAddress(0xFFFB_D000);

/// Base and size of the RAM below and above the hole for `size` bytes of RAM. The high part is
/// empty when everything fits below.
pub fn split(size: u64) -> [(GuestAddress, u64); 2] {
    let low = size.min(HOLE_START.0);
    [(GuestAddress(0), low), (HOLE_END, size - low)]
}

/// One past the highest address that `size` bytes of RAM take, or `None` past 2^64.
pub fn end_of_ram(size: u64) -> Option<u64> {
    match split(size) {
        [(_, low), (_, 0)] => Some(low),
        [_, (base, high)] => base.0.checked_add(high),
    }
}

/// Memory that is plugged later begins at a multiple of this (2 GiB): the most that Linux on x86 adds at once, so that none of it is
/// wasted (its `memory_block_size_bytes`).
pub const HOT_ALIGN: u64 = 2 << 30;

/// Where memory begins that is plugged later, above `size` bytes of RAM and above 4 GiB; `None` past 2^64.
pub fn hot_start(size: u64) -> Option<GuestAddress> {
    let start = end_of_ram(size)?.max(HOLE_END.0).checked_next_multiple_of(HOT_ALIGN);
    start.map(GuestAddress)
}

/// One past the highest address that `size` bytes of RAM and `hot` bytes that are plugged later take, or `None` past 2^64.
pub fn end_of_memory(size: u64, hot: u64) -> Option<u64> {
    if hot == 0 { end_of_ram(size) } else { hot_start(size)?.0.checked_add(hot) }
}

/// Where PCI functions' registers may go: first address and the one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciWindows {
    /// Below 4 GiB.
    pub low: (u64, u64),
    /// Above RAM, if there is room.
    pub high: Option<(u64, u64)>,
}

/// The windows of a guest whose memory ends at `end_of_memory`, and whose processors have `address_bits` bits of physical address.
/// The high one is the upper half of the address space, or what memory leaves of it, in whole GiB.
pub fn pci_windows(end_of_memory: u64, address_bits: u8) -> PciWindows {
    let low = (HOLE_START.0, PCI_END.0);
    let end = 1_u64.checked_shl(address_bits.into()).unwrap_or(u64::MAX);
    let above = end_of_memory.max(HOLE_END.0).checked_next_multiple_of(1 << 30);
    let start = above.map(|start| start.max(end / 2));
    let high = start.filter(|start| *start < end).map(|start| (start, end));
    PciWindows { low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_ram_lies_below_the_hole() {
        assert_eq!(split(512 << 20), [(GuestAddress(0), 512 << 20), (HOLE_END, 0)]);
        assert_eq!(end_of_ram(512 << 20), Some(512 << 20));
    }

    #[test]
    fn exactly_three_gibibytes_need_no_high_part() {
        assert_eq!(split(3 << 30), [(GuestAddress(0), 3 << 30), (HOLE_END, 0)]);
        assert_eq!(end_of_ram(3 << 30), Some(3 << 30));
    }

    #[test]
    fn the_rest_goes_on_at_four_gibibytes() {
        assert_eq!(split(5 << 30), [(GuestAddress(0), 3 << 30), (HOLE_END, 2 << 30)]);
        assert_eq!(end_of_ram(5 << 30), Some(6 << 30));
    }

    #[test]
    fn pci_has_its_windows_beside_ram() {
        let low = (3 << 30, 0xF000_0000);
        let small = PciWindows { low, high: Some((32 << 30, 64 << 30)) };
        assert_eq!(pci_windows(512 << 20, 36), small);
        let large = PciWindows { low, high: Some((51 << 30, 64 << 30)) };
        assert_eq!(pci_windows(51 << 30, 36), large);
        assert_eq!(pci_windows(64 << 30, 36), PciWindows { low, high: None });
        assert_eq!(pci_windows(u64::MAX, 36), PciWindows { low, high: None });
    }

    #[test]
    fn a_size_that_overflows_the_address_space_has_no_end() {
        assert_eq!(end_of_ram(u64::MAX), None);
        assert_eq!(end_of_memory(u64::MAX, 4096), None);
        assert_eq!(end_of_memory(1 << 30, u64::MAX), None);
    }

    #[test]
    fn what_is_plugged_later_lies_above_ram_and_above_4_gib() {
        assert_eq!(hot_start(512 << 20), Some(GuestAddress(4 << 30)));
        assert_eq!(hot_start(3 << 30), Some(GuestAddress(4 << 30)));
        assert_eq!(hot_start(4 << 30), Some(GuestAddress(6 << 30)), "RAM ends at 5 GiB");
        assert_eq!(hot_start(5 << 30), Some(GuestAddress(6 << 30)));
        assert_eq!(end_of_memory(512 << 20, 1 << 30), Some(5 << 30));
        assert_eq!(end_of_memory(512 << 20, 0), Some(512 << 20));
    }
}
