//! The suite of Linux guests: on this machine's KVM if that can run Linux, else in the nested host.
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::tally::Outcome;
use super::{log, tap};
use crate::host::{self, Output, Streams};
use crate::image::guest::Guest;
use crate::kvm::{self, Kvm};
use crate::linux_tests::Part;
use crate::packages::{self, Packages};
use crate::{build, linux_tests, paths};

/// Where the logs of single tests go, below the target directory.
const LOGS: &str = "linux-tests";

/// Runs those whose names contain `only`, all without it.
pub fn linux(only: Option<&str>) -> Result<Outcome> {
    let hardware = kvm::detect() == Kvm::Hardware;
    let packages = match Packages::fetch() {
        Ok(packages) => packages,
        Err(error) => return Ok(left_out(&error)),
    };
    if !hardware && let Err(error) = packages::ensure_qemu() {
        return Ok(left_out(&error));
    }
    if hardware { directly(&packages, only) } else { nested(&packages, only) }
}

fn left_out(error: &anyhow::Error) -> Outcome {
    Outcome::skipped(linux_tests::COUNT as u64, format!("{error:#}"))
}

/// A copy of this program. Its file may have been replaced since it was started (a suite before this
/// one builds the workspace), and then has no path any more; what runs can still be read.
fn own_program() -> Result<PathBuf> {
    let copy = paths::target().join("linux-guest").join("xtask");
    let bytes = std::fs::read("/proc/self/exe").context("cannot read this program")?;
    if let Some(parent) = copy.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(&copy, bytes)
        .and_then(|()| std::fs::set_permissions(&copy, Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
}

fn directly(packages: &Packages, only: Option<&str>) -> Result<Outcome> {
    let guest = Guest::build(&paths::target().join("linux-guest"), packages)?;
    let mut command = Command::new(own_program()?);
    command.arg("linux-tests").arg("--stillpoint").arg(build::stillpoint()?);
    command.arg("--guest").arg(guest.dir()).arg("--logs").arg(paths::target().join(LOGS));
    command.args(only.into_iter().flat_map(|only| ["--only", only]));
    command.env("PATH", with_tools(packages)?);
    let ran = log::run("linux", &mut command)?;
    Ok(Outcome {
        tally: tap::tally(&ran.text),
        log: ran.text,
        log_file: Some(ran.file),
        ..Outcome::default()
    })
}

/// The search path with the tools behind what is on it already.
fn with_tools(packages: &Packages) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = packages.image_tools.iter().chain([&packages.busybox]);
    let tools = tools.filter_map(|tool| tool.parent().map(Path::to_owned));
    Ok(std::env::join_paths(std::env::split_paths(&path).chain(tools))?)
}

/// In as many nested hosts side by side as the machine has room for: each has one processor, so a machine with two is half idle with one.
fn nested(packages: &Packages, only: Option<&str>) -> Result<Outcome> {
    let guest = Guest::build(&paths::target().join("linux-guest"), packages)?;
    let own = own_program()?;
    let mut files = vec![
        (own, "usr/local/bin/xtask".to_owned()),
        (guest.vmlinux(), "guest/vmlinux".to_owned()),
        (guest.stock_bzimage(), "guest/stock-vmlinuz".to_owned()),
        (guest.stock_initramfs(), "guest/stock-initramfs".to_owned()),
    ];
    for tool in &packages.image_tools {
        let name = tool.file_name().unwrap_or_default().to_string_lossy();
        files.push((tool.clone(), format!("usr/local/bin/{name}")));
    }
    let tests = linux_tests::chosen(only).len();
    let of = room_for_hosts().min(tests).max(1);
    let options = options(files);
    // One after the other, then all at once.
    let hosts: Vec<_> = (0..of)
        .map(|index| host::prepare(&options, &words(only, Part { index, of })))
        .collect::<Result<_>>()?;
    let mut outcomes = Vec::new();
    std::thread::scope(|scope| {
        let hosts: Vec<_> =
            hosts.into_iter().map(|host| scope.spawn(move || outcome(host))).collect();
        outcomes.extend(hosts.into_iter().map(|host| {
            host.join().unwrap_or_else(|_| Outcome::broken("its thread panicked\n".to_owned()))
        }));
    });
    let mut all = Outcome { log_file: Some(paths::target().join(LOGS)), ..Outcome::default() };
    for outcome in outcomes {
        all.tally += outcome.tally;
        all.log.push_str(&outcome.log);
    }
    // Each test's time is in there.
    let file = paths::target().join(LOGS).join("results.tap");
    std::fs::write(&file, &all.log).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(all)
}

/// The nested hosts that the machine's processors and its free memory have room for.
fn room_for_hosts() -> usize {
    const MOST: usize = 2;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let mib = kib.unwrap_or(0) >> 10;
    let room = usize::try_from(mib / u64::from(host::Options::default().mem)).unwrap_or(MOST);
    processors.min(room).clamp(1, MOST)
}

fn options(files: Vec<(PathBuf, String)>) -> host::Options {
    host::Options {
        files,
        out: Some(paths::target().join(LOGS)),
        // With several, each other's interrupts are among what QEMU's emulation can lose (see `host::qemu`), and
        // guests fall over. What needs processors that really run at once is tested without Linux.
        smp: 1,
        limit: Duration::from_mins(30),
        ..host::Options::default()
    }
}

/// What a nested host runs.
fn words(only: Option<&str>, part: Part) -> Vec<String> {
    let words = [
        "xtask",
        "linux-tests",
        "--stillpoint",
        "/usr/local/bin/stillpoint",
        "--guest",
        "/guest",
        "--logs",
        "/out",
    ];
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.extend(["--part".to_owned(), part.to_string()]);
    words.extend(only.into_iter().flat_map(|only| ["--only".to_owned(), only.to_owned()]));
    // Passed on as it is asked for: for how long the tests look for what is rare.
    for name in linux_tests::LONG_RUNS {
        if let Ok(value) = std::env::var(name) {
            words.splice(0..0, ["env".to_owned(), format!("{name}={value}")]);
        }
    }
    words
}

fn outcome(host: host::Prepared<'_>) -> Outcome {
    let mut text = Vec::new();
    let mut each = |output: Output<'_>| match output {
        Output::Out(bytes) | Output::Err(bytes) => text.extend_from_slice(bytes),
    };
    let result = host.run(Streams::Piped(&mut each));
    let mut text = String::from_utf8_lossy(&text).into_owned();
    let mut tally = tap::tally(&text);
    if let Err(error) = result {
        let error = format!("{error:#}\n");
        text.push_str(&error);
        tally.failed = tally.failed.max(1);
    }
    Outcome { tally, log: text, ..Outcome::default() }
}

#[cfg(test)]
mod tests {
    use super::own_program;

    #[test]
    fn the_program_is_copied_from_what_runs_whatever_became_of_its_file() {
        let copy = own_program().unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read("/proc/self/exe").unwrap());
        assert!(std::process::Command::new(&copy).arg("--list").output().unwrap().status.success());
    }
}
