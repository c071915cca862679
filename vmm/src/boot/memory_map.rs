//! The map of physical memory that the guest is given: as e820 in the zero page, and in PVH's
//! start info. Both number the kinds of memory alike (ACPI 6.5, 15.2).

use crate::memory::{GuestRam, layout};

/// What a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Ram = 1,
    Reserved = 2,
    Acpi = 3,
}

/// One range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) kind: Kind,
}

/// The ranges of a VM with this RAM, by ascending address. What is in none of them is free for
/// devices: the 32-bit hole below the platform's own part.
pub(super) fn ranges(ram: &GuestRam) -> Vec<Range> {
    use layout::{
        ACPI_TABLES, EBDA_START, ECAM, FIRMWARE, HIGH_MEMORY, HOLE_END, PLATFORM_START,
        REGISTERS_END,
    };
    let span = |start: u64, end: u64, kind| Range { start, size: end - start, kind };
    let [(_, low), (high_start, high)] = layout::split(ram.size());
    let mut ranges = vec![
        span(0, EBDA_START.0, Kind::Ram),
        span(EBDA_START.0, ACPI_TABLES.0, Kind::Reserved),
        span(ACPI_TABLES.0, FIRMWARE.0, Kind::Acpi),
        span(FIRMWARE.0, HIGH_MEMORY.0, Kind::Reserved),
        span(HIGH_MEMORY.0, low, Kind::Ram),
        // Linux trusts the ECAM of the tables only where this map reserves it.
        span(ECAM.0, REGISTERS_END.0, Kind::Reserved),
        span(PLATFORM_START.0, HOLE_END.0, Kind::Reserved),
    ];
    if high > 0 {
        ranges.push(Range { start: high_start.0, size: high, kind: Kind::Ram });
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryConfig;

    fn map(size: u64) -> Vec<Range> {
        ranges(&GuestRam::new(&MemoryConfig { size, ..MemoryConfig::default() }, 46).unwrap())
    }

    #[test]
    fn ram_stops_at_the_hole_and_goes_on_after_it() {
        let map = map(5 << 30);
        let ram: Vec<_> = map
            .iter()
            .filter(|range| range.kind == Kind::Ram)
            .map(|range| (range.start, range.start + range.size))
            .collect();
        assert_eq!(ram, [(0, 0x9_FC00), (1 << 20, 3 << 30), (4 << 30, 6 << 30)]);
    }

    #[test]
    fn what_may_be_plugged_is_in_no_range() {
        let config = MemoryConfig {
            size: 1 << 30,
            hotplug_method: crate::config::HotplugMethod::VirtioMem,
            hotplug_size: Some(2 << 30),
            ..MemoryConfig::default()
        };
        let ram = GuestRam::new(&config, 46).unwrap();
        assert!(ram.hot_region().is_some());
        assert_eq!(ranges(&ram), map(1 << 30));
    }

    #[test]
    fn ranges_are_sorted_and_apart() {
        for size in [2 << 20, 512 << 20, 3 << 30, 8 << 30] {
            let map = map(size);
            assert!(map.iter().all(|range| range.size > 0));
            assert!(map.windows(2).all(|pair| pair[0].start + pair[0].size <= pair[1].start));
        }
    }
}
