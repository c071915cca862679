//! A guest that is busy with everything goes from host to host, and through snapshots: fio verifies a disk, data go both ways over the
//! network with checksums, and a program looks at registers, timers, clocks and system calls (`xtask/guest/witness.rs`). At each stop
//! everything has to go on, and the guest's real time has to be as far from the host's as it was before.
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::guest;
use super::images::{self, Images};
use super::moves::{Moves, until};
use super::places::{HUB, Hub, Place};
use super::vm::{Vm, text};
use super::{Bed, disks};
use crate::tool;

const GUEST: &str = "10.9.0.2";
/// What goes over the network at a time.
const KIB: u64 = 512;
/// What fio writes and verifies at a time.
const FIO_MIB: u32 = 3;
/// How far the guest's clock may go from the host's in all, in seconds: what `kvm-clock` drifts between two clocks that nobody disciplines.
const DRIFT: f64 = 1.0;

/// How often it moves; more for long runs.
fn moves() -> usize {
    let long = std::env::var("STILLPOINT_BUSY_MOVES").ok();
    long.and_then(|moves| moves.parse().ok()).unwrap_or(3)
}

/// See above: every second time by a migration, the others by a snapshot, from which it goes on elsewhere.
pub fn keep_everything_going(bed: &Bed) -> Result<String> {
    let files = Images::new("busy")?;
    let raw = files.raw("raw", 32)?;
    let mut hub = Hub::new()?;
    let mut place = hub.place()?;
    let options = [
        "--disk",
        &format!("path={},id=raw", text(&raw)?),
        "--net",
        "tap=tap0,id=net,mac=52:54:00:09:00:02",
    ];
    let start = place.command(&bed.stillpoint);
    let mut vm = guest::begin_as(start, bed, "busy", &options)?;
    guest::await_commands(&mut vm)?;

    disks::mount(&mut vm, "raw")?;
    let sums = disks::fill(&mut vm, "raw")?;
    vm.run(&format!("net_up {GUEST}/24"))?;
    let server = Server::start(&hub, &files)?;
    let served = disks::sums(&vm.run(&format!("net_serve {KIB}"))?);
    let served = served.first().context("a checksum")?.split(' ').next().unwrap_or_default();
    let fetch = format!("net_fetch_is http://{HUB}/data {}", server.sum);
    for (name, what) in [("fio", format!("fio_disk raw {FIO_MIB}")), ("fetch", fetch)] {
        vm.run(&format!("over_and_over {name} {what}"))?;
    }
    vm.run("witness_begin")?;
    let clock = Clock::of(&mut vm)?;

    let mut fetcher = Fetcher::start(&hub, &files, served)?;
    let directory = files.path("elsewhere");
    let mut moves_so_far = Moves::new(bed, &directory);
    for round in 0..moves() {
        vm = next(&mut moves_so_far, &mut hub, &mut place, vm, round)?;
        let before = fetcher.count()?;
        for what in ["witness_goes_on", "goes_on fio", "goes_on fetch"] {
            vm.run(what).with_context(|| format!("after {} moves", round + 1))?;
        }
        // Whoever fetches from the guest comes round at last, too: twice, the first may have been all but over.
        until(&vm, "nothing comes from the guest any more", || {
            Ok(fetcher.has_ended()? || fetcher.count()? >= before + 2)
        })?;
        clock.compare(&mut vm)?;
    }

    let mut said = Vec::new();
    for what in ["over fio", "over fetch", "witness_end"] {
        said.extend(vm.run(what)?);
    }
    let count = fetcher.end()?;
    vm.run("reread_disk raw")?;
    vm.run("umount_disk raw")?;
    ensure!(vm.counter("raw", "errors")? == 0, "raw counts errors");
    ensure!(vm.counter("net", "host_errors")? == 0, "net counts host_errors");
    guest::finish(vm, &[])?;
    images::check_raw(&files, &raw, &sums)?;
    drop(server);
    Ok(format!("{} times elsewhere; from the guest {count} times; {}", moves(), said.join(", ")))
}

/// The VM in the next place. The one that it leaves ends, so that nothing is sent there any more.
fn next(moves: &mut Moves<'_>, hub: &mut Hub, place: &mut Place, vm: Vm, by: usize) -> Result<Vm> {
    let there = hub.place()?;
    let start = there.command(moves.stillpoint());
    let migrates = by.is_multiple_of(2);
    let vm = if migrates { moves.migrate_as(start, vm)? } else { moves.restore_as(start, vm)? };
    *place = there;
    Ok(vm)
}

/// How far the guest's real time is behind the host's, at least and at most, in seconds.
#[derive(Clone, Copy, Debug)]
struct Clock {
    least: f64,
    most: f64,
}

impl Clock {
    fn of(vm: &mut Vm) -> Result<Self> {
        let before = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let said = vm.run("witness now")?;
        let after = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let guest: u64 = guest::value(&said, "now=")?.parse().context("a number")?;
        let guest = std::time::Duration::from_nanos(guest).as_secs_f64();
        Ok(Self { least: before - guest, most: after - guest })
    }

    /// It is as far from the host's as it was.
    fn compare(self, vm: &mut Vm) -> Result<()> {
        let now = Self::of(vm)?;
        let is_same = now.most > self.least - DRIFT && now.least < self.most + DRIFT;
        ensure!(is_same, "the guest's clock was behind by {self:?} and is by {now:?}");
        Ok(())
    }
}

/// An HTTP server in the hub, with data; dropping it ends it.
struct Server {
    child: Child,
    sum: String,
}

impl Server {
    fn start(hub: &Hub, files: &Images) -> Result<Self> {
        let data = files.path("data");
        let mut make = Command::new("busybox");
        make.args(["dd", "if=/dev/urandom", &format!("of={}", text(&data)?), "bs=1k"]);
        tool::output(make.arg(format!("count={KIB}")))?;
        let sum = tool::output(Command::new("busybox").arg("sha256sum").arg(&data))?;
        let sum = sum.split_whitespace().next().unwrap_or_default().to_owned();
        let dir = data.parent().context("the data lies in a directory")?;
        let mut command = hub.busybox();
        command.args(["httpd", "-f", "-p", &format!("{HUB}:80"), "-h", text(dir)?]);
        let child = command.stdin(Stdio::null()).spawn().context("cannot start httpd")?;
        Ok(Self { child, sum })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fetches from the guest's server over and over, from the hub.
struct Fetcher {
    child: Child,
    count: PathBuf,
    stop: PathBuf,
}

impl Fetcher {
    fn start(hub: &Hub, files: &Images, sum: &str) -> Result<Self> {
        const SCRIPT: &str = r#"
            n=0
            while [ ! -e "$3" ]; do
                got=$(busybox wget -q -O - "$1" | busybox sha256sum)
                [ "$got" = "$2  -" ] || { echo "came: $got" >&2; exit 1; }
                n=$((n + 1))
                echo "$n" >"$4.new" && busybox mv "$4.new" "$4"
            done"#;
        let (count, stop) = (files.path("fetched"), files.path("fetch-no-more"));
        std::fs::write(&count, "0")?;
        let mut command = hub.busybox();
        let url = format!("http://{GUEST}/data");
        command.args(["sh", "-c", SCRIPT, "fetcher", &url, sum, text(&stop)?, text(&count)?]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        Ok(Self { child: child.context("cannot start the fetcher")?, count, stop })
    }

    /// How often it has come round.
    fn count(&self) -> Result<u64> {
        std::fs::read_to_string(&self.count)?.trim().parse().context("a number")
    }

    /// Whether it has ended by itself, which is its failure.
    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the last one.
    fn end(mut self) -> Result<u64> {
        std::fs::write(&self.stop, "")?;
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "fetching from the guest failed: {said}");
        self.count()
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
