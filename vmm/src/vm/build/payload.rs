//! What a VM boots, by its configuration.

use crate::boot::{EntryPreference, KernelSource, Payload};
use crate::config::VmConfig;

/// The command line; the embedded guest is told how many vCPUs to wait for.
pub(super) fn cmdline(config: &VmConfig) -> String {
    let given = config.payload.cmdline.clone().unwrap_or_default();
    if config.payload.kernel.is_some() {
        return given;
    }
    format!("vcpus={} {given}", config.cpus.boot_vcpus).trim_end().to_owned()
}

pub(super) fn payload<'a>(config: &'a VmConfig, cmdline: &'a str) -> Payload<'a> {
    let kernel = config.payload.kernel.as_deref().map_or(
        KernelSource::Memory { name: "the embedded guest", bytes: stillpoint_guest::IMAGE },
        KernelSource::File,
    );
    let initramfs = config.payload.initramfs.as_deref();
    Payload { kernel, initramfs, cmdline, entry: EntryPreference::Auto }
}
