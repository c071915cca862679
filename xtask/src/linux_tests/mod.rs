//! The Linux tests: Debian's unmodified cloud kernel as the guest, paused and resumed while it boots and works.
//!
//! They run where the KVM can run Linux: on this machine, or in the nested host (whose binary is this one too). What
//! they print is TAP (testanything.org): a plan `1..N`, then `ok K - name` or `not ok K - name` a test, and comments.
//!
//! Times are not judged: the nested host is emulated. Deadlines only report what hung.
mod autopsy;
mod balloon;
mod boot;
mod busy_moves;
mod check;
mod console;
mod cpus;
mod disks;
mod guest;
mod hotplug;
mod http;
mod images;
mod memory;
mod moves;
mod network;
mod part;
mod pci;
mod places;
mod power;
mod storm;
mod topology;
mod vm;
mod vsock;
mod watchdog;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::image::elf;
use crate::image::guest::Guest;
pub use part::Part;

/// What the tests work with.
pub struct Bed {
    /// The VMM to test.
    pub stillpoint: PathBuf,
    /// What it boots.
    pub guest: Guest,
    /// Where each test's logs go.
    pub logs: PathBuf,
}

/// Environment variables with which a test looks longer for what is rare.
pub const LONG_RUNS: [&str; 3] =
    ["STILLPOINT_STORMS", "STILLPOINT_BOOT_CYCLES", "STILLPOINT_BUSY_MOVES"];

/// A test.
pub struct Test {
    name: &'static str,
    run: fn(&Bed) -> Result<String>,
    /// About how long it takes in the nested host, in units of 10 s at one time: by this they are shared out among several.
    weight: u32,
}

const fn test(weight: u32, name: &'static str, run: fn(&Bed) -> Result<String>) -> Test {
    Test { name, run, weight }
}

/// Every test, the simplest first.
const TESTS: [Test; 23] = [
    test(7, "bzimage_1_vcpu", |bed| boot::bzimage(bed, 1)),
    test(8, "bzimage_2_vcpus", |bed| boot::bzimage(bed, 2)),
    test(13, "bzimage_4_vcpus", |bed| boot::bzimage(bed, 4)),
    test(8, "vmlinux_through_pvh", boot::pvh),
    test(11, "vmlinux_through_64_bit_entry", boot::entry_64_bit),
    test(2, "poweroff_ends_the_vmm", power::poweroff),
    test(8, "reboot_boots_again", power::reboot),
    test(4, "lscpu_shows_the_topology", topology::lscpu),
    test(10, "cpus_come_and_go", cpus::come_and_go),
    test(8, "pci_enumerates_with_and_without_crs", pci::enumerates),
    test(10, "disks_keep_their_data", disks::keep_their_data),
    test(15, "devices_come_and_go", hotplug::come_and_go),
    test(15, "network_moves_data", network::moves_data),
    test(9, "balloon_and_entropy", balloon::and_entropy),
    test(17, "memory_grows_and_shrinks", memory::grows_and_shrinks),
    test(3, "vsock_moves_data", vsock::moves_data),
    test(2, "typing_on_hvc0", console::typing),
    test(16, "reboot_keeps_the_devices", power::reboot_keeps_the_devices),
    test(3, "power_button_is_noticed", power::button),
    test(3, "a_panic_is_told", power::panic),
    test(14, "watchdog_resets_a_silent_guest", watchdog::resets_a_silent_guest),
    test(15, "a_vm_moves_while_it_boots_and_writes", moves::while_it_boots_and_writes),
    test(15, "a_busy_vm_moves_and_everything_goes_on", busy_moves::keep_everything_going),
];

/// How many tests there are.
pub const COUNT: usize = TESTS.len();

/// Runs this part of the tests that are [`chosen`]; the result says whether all passed.
pub fn run(bed: &Bed, only: Option<&str>, part: Part) -> Result<bool> {
    std::fs::create_dir_all(&bed.logs)
        .with_context(|| format!("cannot make {}", bed.logs.display()))?;
    let chosen = part.of(chosen(only));
    println!("1..{}", chosen.len());
    let mut all_passed = true;
    for (index, Test { name, run, .. }) in chosen.iter().enumerate() {
        let started = Instant::now();
        let result = run(bed);
        let seconds = started.elapsed().as_secs_f32();
        match result {
            Ok(remark) => println!("ok {} - {name} # {remark}, {seconds:.1} s", index + 1),
            Err(error) => {
                all_passed = false;
                println!("not ok {} - {name} # after {seconds:.1} s", index + 1);
                for line in format!("{error:#}").lines() {
                    println!("# {line}");
                }
            }
        }
    }
    Ok(all_passed)
}

/// The tests whose names contain `only`, or one of its parts between `|`; all without it.
pub fn chosen(only: Option<&str>) -> Vec<&'static Test> {
    TESTS.iter().filter(|test| only.is_none_or(|only| is_meant(test.name, only))).collect()
}

fn is_meant(name: &str, only: &str) -> bool {
    only.split('|').any(|part| name.contains(part))
}

impl Bed {
    /// A copy of the ELF kernel without its PVH note, so that the VMM has to take the 64-bit entry.
    fn vmlinux_without_pvh(&self) -> Result<PathBuf> {
        let from = self.guest.vmlinux();
        let vmlinux =
            std::fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        let to = std::env::temp_dir().join(format!("vmlinux-without-pvh.{}", std::process::id()));
        std::fs::write(&to, elf::without_pvh(&vmlinux)?)
            .with_context(|| format!("cannot write {}", to.display()))?;
        Ok(to)
    }
}
