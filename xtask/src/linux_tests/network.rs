//! A tap in a network namespace of the VMM's own: data both ways, with checksums.
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Bed;
use super::disks::sums;
use super::guest::{self, Network};
use super::hotplug::{add_when_free, remove};
use super::images::Images;
use super::storm::Storm;
use super::vm::{Vm, text};
use crate::tool;

const HOST: &str = "10.9.0.1";
const GUEST: &str = "10.9.0.2";
/// How much goes each way.
const KIB: u64 = 4096;
/// How often each of the guest's two processors fetches it.
const TIMES: usize = 4;

/// See above.
pub fn moves_data(bed: &Bed) -> Result<String> {
    let files = Images::new("network")?;
    let data = files.path("data");
    tool::output(
        Command::new("dd")
            .arg("if=/dev/urandom")
            .arg(format!("of={}", text(&data)?))
            .args(["bs=1k", &format!("count={KIB}")]),
    )?;
    let sum = checksum(&data)?;

    let net = format!("tap=tap0,id=net,num_queues=4,ip={HOST},mask=255.255.255.0");
    let mut vm = guest::start_with(bed, "network", "", Network::Own, &["--net", &net])?;
    vm.run(&format!("net_up {GUEST}/24"))?;
    let server = Server::start(&vm, &data)?;

    let storm = Storm::start(&vm)?;
    let lines = vm.run(&format!("net_ping {HOST}"))?;
    ensure!(guest::value(&lines, "ping=")? == "3 3", "the guest's pings: {lines:?}");
    let fetched = sums(&vm.run(&format!("net_fetch http://{HOST}/data"))?);
    ensure!(first(&fetched) == Some(sum.as_str()), "the guest fetched {fetched:?}, not {sum}");

    let everywhere = format!("net_fetch_everywhere http://{HOST}/data {TIMES}");
    let fetched = sums(&vm.run(&everywhere)?);
    let is_right = |line: &&String| line.split_whitespace().next() == Some(sum.as_str());
    let good = fetched.iter().filter(is_right).count();
    ensure!(good == 2 * TIMES, "{good} of {} copies are right: {fetched:?}", 2 * TIMES);
    verify_queues(&vm.run("net_queues")?)?;

    let served = sums(&vm.run(&format!("net_serve {KIB}"))?);
    let copy = files.path("copy");
    let url = format!("http://{GUEST}/data");
    tool::output(beside(&vm).args(["wget", "-q", "-O", text(&copy)?, &url]))?;
    let copied = checksum(&copy)?;
    ensure!(first(&served) == Some(copied.as_str()), "the host fetched {copied}, not {served:?}");
    for name in ["rx_bytes", "tx_bytes"] {
        let bytes = vm.counter("net", name)?;
        ensure!(bytes >= KIB << 10, "net counts {bytes} {name}");
    }
    ensure!(vm.counter("net", "host_errors")? == 0, "net counts host_errors");

    // The same card again, added at run time. The tap, and its address, come anew.
    remove(&mut vm, "net")?;
    add_when_free(&vm, "add-net", "net", &net)?;
    vm.run(&format!("net_up {GUEST}/24"))?;
    let fetched = sums(&vm.run(&format!("net_fetch http://{HOST}/data"))?);
    ensure!(first(&fetched) == Some(sum.as_str()), "by the new card came {fetched:?}, not {sum}");
    let cycles = storm.end()?;
    drop(server);
    guest::finish(vm, &["net"])?;
    let copies = 2 * TIMES + 1;
    Ok(format!(
        "{copies} times {KIB} KiB to the guest, once back, {cycles} cycles of pause and resume"
    ))
}

/// Linux puts packets into several buffers, and both pairs have told of some.
fn verify_queues(lines: &[String]) -> Result<()> {
    for (key, wanted) in [("merged=", "1"), ("pairs=", "2")] {
        let found = guest::value(lines, key)?;
        ensure!(found == wanted, "{key}{found} instead of {wanted}");
    }
    for key in ["input.0=", "input.1="] {
        let interrupts: u64 = guest::value(lines, key)?.parse().context("a number")?;
        ensure!(interrupts > 0, "no interrupt of {key} came: {lines:?}");
    }
    Ok(())
}

/// An HTTP server in the VMM's network; dropping it ends it.
struct Server(Child);

impl Server {
    fn start(vm: &Vm, data: &Path) -> Result<Self> {
        let dir = data.parent().context("the data lies in a directory")?;
        let mut command = beside(vm);
        command.args(["httpd", "-f", "-p", &format!("{HOST}:80"), "-h", text(dir)?]);
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", tool::describe(&command)))?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A busybox command in the VMM's network.
pub fn beside(vm: &Vm) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &vm.pid().to_string(), "-n", "busybox"]);
    command
}

fn checksum(file: &Path) -> Result<String> {
    let out = tool::output(Command::new("sha256sum").arg(file))?;
    Ok(out.split_whitespace().next().unwrap_or_default().to_owned())
}

fn first(sums: &[String]) -> Option<&str> {
    sums.first()?.split_whitespace().next()
}
