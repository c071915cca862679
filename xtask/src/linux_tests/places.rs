//! Hosts on one network, as far as a VM that goes from one to the next can tell: network namespaces with a tap each, and one in their
//! midst that has a bridge, an address and whoever the guest talks to.
//!
//! ```text
//!   hub: br0 10.9.0.1 ─┬─ v1 ═ veth0 ─┬─ br0 of place 1 ─── tap0 ─── VMM
//!                      └─ v2 ═ veth0 ─┴─ br0 of place 2 ─── tap0 ─── the next VMM
//! ```
//! They end with what holds them. When a place has ended, the hub forgets which way the guest was.
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::vm::PATIENCE;
use crate::tool;

/// The hub's address.
pub const HUB: &str = "10.9.0.1";
/// Its hardware address. A bridge that was given none takes the least of its ports', which come and go with the places: the guest would
/// send to an address that is nobody's, as no real network has it do.
const HUB_MAC: &str = "52:54:00:09:00:01";

/// A network namespace, held by a process that sleeps in it.
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Self> {
        let mut command = Command::new("busybox");
        command.args(["unshare", "-n", "busybox", "sleep", "86400"]).stdin(Stdio::null());
        let child = command.spawn().context("cannot start `busybox unshare`")?;
        let namespace = Self(child);
        let mine = std::fs::read_link("/proc/self/ns/net")?;
        let begun = Instant::now();
        let (_nobody, never) = channel::<()>();
        while std::fs::read_link(format!("/proc/{}/ns/net", namespace.0.id()))? == mine {
            ensure!(begun.elapsed() < PATIENCE, "there is no network namespace of its own");
            let _ = never.recv_timeout(Duration::from_millis(5));
        }
        Ok(namespace)
    }

    fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// A program in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("busybox");
        command.args(["nsenter", "-t", &self.id(), "-n", program]);
        command
    }

    /// Runs busybox's commands in it, a line each.
    fn run(&self, lines: &[&str]) -> Result<()> {
        for line in lines {
            tool::output(self.command("busybox").args(line.split_whitespace()))?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The midst.
pub struct Hub {
    namespace: Namespace,
    places: u32,
}

impl Hub {
    pub fn new() -> Result<Self> {
        let namespace = Namespace::new()?;
        let address = format!("ip addr add {HUB}/24 dev br0");
        namespace.run(&[
            "ip link set lo up",
            "brctl addbr br0",
            &format!("ip link set br0 address {HUB_MAC}"),
            &address,
            "ip link set br0 up",
        ])?;
        Ok(Self { namespace, places: 0 })
    }

    /// One more host, with `tap0`.
    pub fn place(&mut self) -> Result<Place> {
        self.places += 1;
        let here = format!("v{}", self.places);
        let place = Namespace::new()?;
        self.namespace.run(&[
            // The other end is called veth0, and is at once elsewhere.
            &format!("ip link add {here} type veth"),
            &format!("ip link set veth0 netns {}", place.id()),
            &format!("brctl addif br0 {here}"),
            &format!("ip link set {here} up"),
        ])?;
        place.run(&[
            "ip link set lo up",
            "tunctl -t tap0",
            "brctl addbr br0",
            "brctl addif br0 tap0",
            "brctl addif br0 veth0",
            "ip link set tap0 up",
            "ip link set veth0 up",
            "ip link set br0 up",
        ])?;
        Ok(Place(place))
    }

    /// A busybox command in it.
    pub fn busybox(&self) -> Command {
        self.namespace.command("busybox")
    }
}

/// A host.
pub struct Place(Namespace);

impl Place {
    /// A program there.
    pub fn command(&self, program: &std::path::Path) -> Command {
        self.0.command(&program.display().to_string())
    }
}
