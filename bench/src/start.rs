//! How long a VM takes to start, and how much memory it needs beside the guest's.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cell::{ClientClass, Guest, Load};
use crate::floor::bare_vcpus;
use crate::mappings::{self, Mapping};
use crate::pace;
use crate::stats::Summary;
use crate::subject::{Socket, Tie, VmmProcess};

/// What the kernel may take to clear up after a VM when its process has ended or let go of it. It does so in
/// the background, and a start meanwhile would share the processors with it.
const SETTLE: Duration = Duration::from_millis(20);

/// Process start to "Running".
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// vCPUs.
    pub vcpus: NonZeroU32,
    /// From before the spawn of `stillpoint run` to the answer of `vm.info` that says "Running".
    pub to_running: Summary,
    /// The part that the VMM itself reports as its boot.
    pub own: Option<Summary>,
    /// What KVM itself takes for so many vCPUs, one after the other.
    pub bare: Summary,
}

/// Measures the start so many times.
pub fn measure(stillpoint: &Path, vcpus: NonZeroU32, runs: usize) -> Result<Option<Start>> {
    let load = Load { vcpus, guest: Guest::Halted };
    let (mut to_running, mut own, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        pace::go_on()?;
        let begun = Instant::now();
        let (took, boot) = one(stillpoint, load, begun)
            .with_context(|| format!("start {run} with {vcpus} vCPUs"))?;
        to_running.push(took);
        own.extend(boot);
        // In turn with the starts: what slows the machine down meets both.
        pace::pause_for(SETTLE);
        bare.push(bare_vcpus(vcpus)?);
        pace::pause_for(SETTLE);
    }
    let own = Summary::of(&own);
    let both = Summary::of(&to_running).zip(Summary::of(&bare));
    Ok(both.map(|(to_running, bare)| Start { vcpus, to_running, own, bare }))
}

fn one(stillpoint: &Path, load: Load, begun: Instant) -> Result<(Duration, Option<Duration>)> {
    let mut vmm = VmmProcess::spawn(stillpoint, load, Tie::None)?;
    let mut client = vmm.connect()?;
    let info = vmm.wait_running(&mut client)?;
    let took = begun.elapsed();
    drop(client);
    vmm.end()?;
    Ok((took, info["boot_us"].as_u64().map(Duration::from_micros)))
}

/// Memory of a VMM process outside guest RAM.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// vCPUs.
    pub vcpus: NonZeroU32,
    /// PSS of everything but guest RAM, in MiB.
    pub outside_mib: f64,
    /// PSS of guest RAM, in MiB.
    pub guest_mib: f64,
    /// Where it is: kind of mapping → KiB.
    pub parts_kib: BTreeMap<&'static str, u64>,
}

/// Weighs a VMM whose guest has one halted vCPU.
pub fn memory(stillpoint: &Path) -> Result<Memory> {
    let load = Load { vcpus: NonZeroU32::MIN, guest: Guest::Halted };
    let vm = Socket::start(stillpoint, load, ClientClass::Ordinary)?;
    let mappings = mappings::with_pss(vm.pid())?;
    vm.end()?;
    Ok(weigh(load.vcpus, &mappings))
}

fn weigh(vcpus: NonZeroU32, mappings: &[Mapping]) -> Memory {
    let mut parts_kib = BTreeMap::new();
    let (mut outside, mut guest) = (0, 0);
    for mapping in mappings {
        if mapping.is_guest_ram() {
            guest += mapping.pss_kib;
        } else {
            outside += mapping.pss_kib;
            *parts_kib.entry(kind(&mapping.name)).or_default() += mapping.pss_kib;
        }
    }
    Memory { vcpus, outside_mib: mib(outside), guest_mib: mib(guest), parts_kib }
}

fn kind(name: &str) -> &'static str {
    match name {
        "" => "anonymous (stacks, arenas)",
        "[heap]" => "heap",
        _ if name.starts_with("anon_inode:") => "KVM",
        _ if name.starts_with('[') => "stack and vdso",
        _ if name.contains(".so") => "shared libraries",
        _ => "program",
    }
}

fn mib(kib: u64) -> f64 {
    // A process has less than 4 TiB.
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_ram_is_weighed_apart() {
        let mapping =
            |name: &str, pss_kib| Mapping { start: 0, offset: 0, name: name.to_owned(), pss_kib };
        let memory = weigh(
            NonZeroU32::MIN,
            &[
                mapping("/bin/stillpoint", 512),
                mapping("/bin/stillpoint", 256),
                mapping("/memfd:stillpoint-ram (deleted)", 2048),
                mapping("anon_inode:kvm-vcpu:0", 12),
                mapping("/lib/libc.so.6", 200),
                mapping("", 44),
            ],
        );
        assert!((memory.outside_mib - 1.0).abs() < 1e-9);
        assert!((memory.guest_mib - 2.0).abs() < 1e-9);
        assert_eq!(memory.parts_kib["program"], 768);
        assert_eq!(memory.parts_kib["KVM"], 12);
    }
}
