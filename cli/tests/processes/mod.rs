//! One guest, two VMM processes, and how a host knows what becomes of the guest.
//!
//! The guest is bare metal and gets its orders with its image. One vCPU renews a *lease*: it reads the first sector of a disk, finds to the
//! bit what it wrote last, and writes the next, which has the time in it. The other vCPUs *patrol* their memory or reset and set up devices;
//! what they have come to is in the lease. The disk is a file that both processes open, as a migration expects.
//!
//! **Never two.** Two guests that run at once are copies of one another from some instant on. Each finds in the sector what the other has
//! written since, at its next read; it then says so in the second sector and renews nothing any more: that is a complaint, or the host sees
//! nothing move. The locks of the image do not enter into it: writes are not stopped by them. What escapes is a second guest that ran for
//! less than two requests to the disk, and such a one has done nothing that anybody could see.
//! The host looks, too: while the one that is there is paused, the lease does not move.
//!
//! **Exactly one.** One of the two processes has the VM, in the phase in which it was, and the lease goes on; a guest that was put back
//! in time would find a later lease.
//!
//! **Memory is intact.** After each round the host waits until the patrol has checked every page at least once more
//! (`guest/driver/patrol.rs`), and no vCPU has ended.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod lease;
pub mod link;
pub mod plan;
pub mod process;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::time::Timespec;
use serde_json::{Value, json};
use stillpoint_guest::driver::Command;
use stillpoint_guest::{Order, driver_image_with};

use crate::support::Bed;
use lease::{Image, Lease};
use process::Process;

/// When nothing has gone on for this long, something hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how long the host looks whether something moves that must not. Too short a look is no failure.
const LOOK: Duration = Duration::from_millis(4);

/// A guest that either of two processes runs.
pub struct Guest {
    pub image: Image,
    config: Value,
    /// The last lease that was seen.
    last: Option<Lease>,
}

/// A guest's orders, given the slot of each device by its name.
pub type Orders = fn(&dyn Fn(&str) -> u64) -> Vec<Order>;

/// What a guest needs besides its lease.
pub struct Wanted {
    /// The devices of the configuration, besides the disk `lease`.
    pub devices: Value,
    /// The orders of the vCPUs behind the first, by the slots of devices.
    pub orders: Orders,
}

impl Guest {
    /// Boots it in this process.
    pub fn boot(bed: &Bed, process: &Process, wanted: &Wanted) -> Self {
        let image = Image::new(&bed.directory.path().join("lease"));
        let kernel = bed.directory.path().join("guest");
        // Where the devices are is known when they are there: a guest without orders tells.
        let mut config = wanted.devices.clone();
        let disks = config["disks"].as_array().cloned().unwrap_or_default();
        let lease = json!({"path": image.path, "id": "lease"});
        config["disks"] = std::iter::once(lease).chain(disks).collect();
        config["serial"] = json!({"mode": "Null"});
        config["console"] = json!({"mode": "Off"});
        let mut make = |orders: &[Order]| {
            let (bytes, size) = driver_image_with(orders);
            std::fs::write(&kernel, bytes).expect("written");
            let vcpus = orders.len();
            config["payload"] = json!({"kernel": kernel, "cmdline": "quiet"});
            config["cpus"] = json!({"boot_vcpus": vcpus, "max_vcpus": vcpus});
            config["memory"] = json!({"size": size});
            config.clone()
        };
        let idle = make(&[Order { command: Command::Patrol, arguments: vec![1] }]);
        process.put("vm.create", Some(&idle)).expect("created");
        process.put("vm.boot", None).expect("booted");
        let tree = process.get("vm.info").expect("there")["device_tree"].clone();
        process.put("vm.delete", None).expect("deleted");
        let slot = |id: &str| {
            let place = tree[id]["pci_bdf"].as_str().unwrap_or_else(|| panic!("{id} in {tree}"));
            // segment:bus:device.function
            u64::from_str_radix(&place[8..10], 16).expect("a number")
        };
        let mut orders = vec![Order { command: Command::Lease, arguments: vec![slot("lease")] }];
        orders.extend((wanted.orders)(&slot));
        let told = orders.len() as u64;
        orders[0].arguments.push(told);
        let config = make(&orders);
        let mut guest = Self { image, config, last: None };
        guest.begin(process);
        guest
    }

    /// Boots it in this process, after its end.
    pub fn begin(&mut self, process: &Process) {
        self.image.settle();
        process.put("vm.create", Some(&self.config)).expect("created");
        process.put("vm.boot", None).expect("booted");
        let before = self.last.as_ref().map_or(0, |lease| lease.sequence);
        self.until("the guest's first lease", &[process], |lease| lease.sequence > before);
    }

    /// Bytes of its memory.
    pub fn memory(&self) -> u64 {
        self.config["memory"]["size"].as_u64().expect("a number")
    }

    /// Every vCPU goes on, and the patrol has been everywhere since.
    pub fn goes_on(&mut self, processes: &[&Process]) {
        let then = self.look().expect("a lease");
        self.until("every vCPU going on", processes, |now| {
            let vcpus = now.vcpus.iter().zip(&then.vcpus);
            // Two: the first may have begun before.
            vcpus.into_iter().all(|(now, then)| now.rounds >= then.rounds + 2)
        });
    }

    /// Nobody runs it.
    pub fn stands_still(&mut self, processes: &[&Process]) {
        let then = self.look();
        rest(LOOK);
        let now = self.look();
        assert_eq!(then, now, "{}", report(processes));
    }

    /// The lease, if all is well with it.
    fn look(&mut self) -> Option<Lease> {
        assert_eq!(self.image.complaint(), None);
        let lease = self.image.lease()?;
        for (index, vcpu) in lease.vcpus.iter().enumerate() {
            assert!(!vcpu.is_done, "vCPU {index} has ended: {vcpu:?}");
        }
        let before = self.last.as_ref().map_or(0, |last| last.sequence);
        assert!(lease.sequence >= before, "back from {before} to {}", lease.sequence);
        self.last = Some(lease.clone());
        Some(lease)
    }

    /// The sequence of its lease.
    pub fn sequence(&mut self) -> u64 {
        self.look().map_or(0, |lease| lease.sequence)
    }

    fn until(&mut self, what: &str, processes: &[&Process], so: impl Fn(&Lease) -> bool) {
        let (mut begun, mut seen) = (Instant::now(), 0);
        loop {
            let lease = self.look();
            if lease.as_ref().is_some_and(&so) {
                return;
            }
            let now = lease.map_or(0, |lease| lease.sequence);
            if now != seen {
                (begun, seen) = (Instant::now(), now);
            }
            let last = &self.last;
            let waited = begun.elapsed();
            assert!(waited < PATIENCE, "STALL: {what}: {last:?}\n{}", report(processes));
            rest(Duration::from_micros(500));
        }
    }
}

fn report(processes: &[&Process]) -> String {
    processes.iter().map(|process| process.report()).collect()
}

/// Leaves the processors to others for a while.
pub fn rest(time: Duration) {
    let moment =
        Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
    let _ = rustix::thread::nanosleep(&moment);
}

/// A socket for one migration.
pub fn socket(bed: &Bed, kind: &str, round: &str) -> PathBuf {
    bed.directory.path().join(format!("{kind}-{round}"))
}

/// Waits until somebody listens there, or `given_up`. The socket's file is there before anybody does.
pub fn await_listener(path: &std::path::Path, given_up: impl Fn() -> bool) {
    let begun = Instant::now();
    while !given_up() {
        // proc(5): flags (10000: it accepts connections) and path of each.
        let sockets = std::fs::read_to_string("/proc/net/unix").expect("sockets");
        let ends = format!(" {}", path.display());
        let mut mine = sockets.lines().filter(|line| line.ends_with(&ends));
        if mine.any(|line| line.split_whitespace().nth(3) == Some("00010000")) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody listens on {}", path.display());
        rest(Duration::from_micros(200));
    }
}

/// A number from the environment, or what CI has time for.
pub fn count(variable: &str, usual: u64) -> u64 {
    let long = std::env::var(variable).ok();
    long.map_or(usual, |text| text.parse().expect("a number"))
}
