//! Whether guest RAM can be made, and what may be plugged later.

use super::check_numa::check_zones;
use super::validate::{MAX_MEMORY, MIN_MEMORY, bytes};
use super::{HotplugMethod, MemoryConfig};

const PAGE: u64 = 4096;
/// What may be plugged comes in whole ones of these: Linux adds no less at once (on x86).
const HOTPLUG_STEP: u64 = 128 << 20;
/// What is plugged comes in whole blocks (virtio 1.2, 5.15).
pub(super) const HOTPLUG_BLOCK: u64 = devices::virtio::mem::BLOCK_SIZE;

pub(super) fn check_memory(memory: &MemoryConfig) -> Result<(), String> {
    check_zones(memory)?;
    let memory = &memory.whole();
    let size = memory.size;
    if size < MIN_MEMORY {
        return Err(format!(
            "{} are too little; at least {} are needed",
            bytes(size),
            bytes(MIN_MEMORY)
        ));
    }
    if size > MAX_MEMORY {
        return Err(format!("{} are too much; at most {}", bytes(size), bytes(MAX_MEMORY)));
    }
    let page = match memory.hugepage_size {
        Some(_) if !memory.hugepages => {
            return Err("hugepage_size is given, but hugepages is off".to_owned());
        }
        Some(page) if !page.is_power_of_two() || page <= PAGE => {
            return Err(format!("{} is no size of a huge page; try 2M or 1G", bytes(page)));
        }
        Some(page) => page,
        None => PAGE,
    };
    if !size.is_multiple_of(page) {
        return Err(format!("{} are no whole number of {} pages", bytes(size), bytes(page)));
    }
    check_hotplug(memory)
}

fn check_hotplug(memory: &MemoryConfig) -> Result<(), String> {
    let MemoryConfig { hotplug_method, hotplug_size, hotplugged_size, .. } = *memory;
    let hotplug_size = hotplug_size.filter(|size| *size > 0);
    match (hotplug_method, hotplug_size) {
        (HotplugMethod::Acpi, Some(size)) => {
            return Err(format!(
                "hotplug_size {}, but hotplug_method is Acpi, as it is by default; \
                 memory is plugged by hotplug_method=virtio-mem only (VirtioMem in JSON)",
                bytes(size)
            ));
        }
        (HotplugMethod::VirtioMem, None) => {
            return Err("hotplug_method is virtio-mem, but there is no hotplug_size; \
                 give the most that may be plugged, such as hotplug_size=2G"
                .to_owned());
        }
        _ => {}
    }
    let most = hotplug_size.unwrap_or(0);
    if let Some(problem) = plugged_problem(memory.requested(), most) {
        return Err(format!("hotplugged_size {}: {problem}", bytes(hotplugged_size.unwrap_or(0))));
    }
    if most == 0 {
        return Ok(());
    }
    if !most.is_multiple_of(HOTPLUG_STEP) {
        return Err(format!(
            "hotplug_size {} is no multiple of {}, which Linux adds memory in",
            bytes(most),
            bytes(HOTPLUG_STEP)
        ));
    }
    if most > MAX_MEMORY - memory.size {
        return Err(format!(
            "hotplug_size {} beside {} are too much; at most {} together",
            bytes(most),
            bytes(memory.size),
            bytes(MAX_MEMORY)
        ));
    }
    if memory.hugepages {
        return Err("hugepages=on and hotplug_size exclude each other: \
             what is not plugged would take huge pages, too; thp=on gives huge pages as they come"
            .to_owned());
    }
    Ok(())
}

/// Why so many bytes cannot be plugged where `most` may be, if they cannot.
pub(super) fn plugged_problem(plugged: u64, most: u64) -> Option<String> {
    if plugged > most {
        Some(format!("at most {} can be plugged (hotplug_size)", bytes(most)))
    } else if !plugged.is_multiple_of(HOTPLUG_BLOCK) {
        Some(format!("memory is plugged in multiples of {}", bytes(HOTPLUG_BLOCK)))
    } else {
        None
    }
}
