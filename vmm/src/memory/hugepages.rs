//! The host's pools of huge pages, as sysfs shows them
//! (Linux `Documentation/admin-guide/mm/hugetlbpage.rst`).

use std::fs;

const POOLS: &str = "/sys/kernel/mm/hugepages";

/// Sizes in bytes of the pools that the host has, smallest first. They may be empty pools.
pub(super) fn sizes() -> Vec<u64> {
    let Ok(entries) = fs::read_dir(POOLS) else { return Vec::new() };
    let mut sizes: Vec<u64> =
        entries.flatten().filter_map(|entry| pool_size(entry.file_name().to_str()?)).collect();
    sizes.sort_unstable();
    sizes
}

/// The size that `MFD_HUGETLB` takes when none is named: `Hugepagesize` of `/proc/meminfo`.
pub(super) fn default_size() -> Option<u64> {
    default_in(&fs::read_to_string("/proc/meminfo").ok()?)
}

/// Pages of `size` bytes that are free and not promised to anybody.
pub(super) fn free(size: u64) -> u64 {
    let read = |file: &str| -> u64 {
        fs::read_to_string(format!("{POOLS}/hugepages-{}kB/{file}", size >> 10))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    };
    read("free_hugepages").saturating_sub(read("resv_hugepages"))
}

fn pool_size(name: &str) -> Option<u64> {
    let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

fn default_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_names_carry_the_size() {
        assert_eq!(pool_size("hugepages-2048kB"), Some(2 << 20));
        assert_eq!(pool_size("hugepages-1048576kB"), Some(1 << 30));
        assert_eq!(pool_size("hugepages-kB"), None);
        assert_eq!(pool_size("other"), None);
    }

    #[test]
    fn meminfo_names_the_default() {
        assert_eq!(default_in("HugePages_Free: 0\nHugepagesize:       2048 kB\n"), Some(2 << 20));
        assert_eq!(default_in("MemTotal: 1 kB\n"), None);
    }
}
