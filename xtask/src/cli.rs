//! The command line.
mod mutants;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::host::{self, Output, Streams};
use crate::image::guest::Guest;
use crate::{bench, diagram, hammer, linux, linux_tests, suites};
use mutants::{DevicesArgs, LifecycleArgs};

/// Tests, benchmarks and the nested test host of Stillpoint.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    Test(TestArgs),
    Bench(BenchArgs),
    Hammer(HammerArgs),
    Host(HostArgs),
    Linux(LinuxArgs),
    /// Draw the lifecycle's states from the transition function: README.md, docs/lifecycle.svg
    Diagram,
    MutantsLifecycle(LifecycleArgs),
    MutantsDevices(DevicesArgs),
    #[command(hide = true)]
    LinuxTests(LinuxTestsArgs),
}

impl Cli {
    /// Does what was asked; the result is this program's exit status.
    pub fn run(self) -> Result<u8> {
        match self.command {
            Task::Test(args) => args.run(),
            Task::Bench(args) => match bench::run(&args.arguments)? {},
            Task::Hammer(args) => match hammer::run(&args.options())? {},
            Task::Host(args) => args.run(),
            Task::Linux(args) => linux::run(&linux::Options { cpus: args.cpus, mem: args.mem }),
            Task::MutantsLifecycle(args) => args.run(),
            Task::MutantsDevices(args) => args.run(),
            Task::Diagram => diagram::run().map(|()| 0),
            Task::LinuxTests(args) => args.run(),
        }
    }
}

/// Run all tests: formatting, lints, unit tests, models, KVM tests, Linux guests.
///
/// One line a suite, then what was left out and why, then `N passed, N failed, N skipped`. Logs stay in target/test-logs.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --list
  cargo xtask test --only unit,kvm
  cargo xtask test --only linux:disks")]
struct TestArgs {
    /// Only these suites; can be repeated. linux:TEXT: its tests with TEXT in their names
    #[arg(long, value_name = "SUITE", value_delimiter = ',')]
    only: Vec<String>,
    /// Name the suites, run none
    #[arg(long)]
    list: bool,
}

impl TestArgs {
    fn run(self) -> Result<u8> {
        if self.list {
            for suite in &suites::SUITES {
                println!("{:8} {}", suite.name, suite.about);
            }
            return Ok(0);
        }
        Ok(u8::from(!suites::run(&self.only)?))
    }
}

/// Measure how long pause, resume and start take, against bare threads and other VMMs.
///
/// Builds the benchmark and `stillpoint` as they are released and runs the benchmark with the arguments that follow.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench pause
  cargo xtask bench pause --json pause.json --svg pause.svg
  cargo xtask bench pause --quick
  cargo xtask bench breakdown --vcpus 254 --guest spinning
  cargo xtask bench pause --help")]
struct BenchArgs {
    /// `pause` or `breakdown`, and their options
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Hammer VMs on this machine's KVM with random programs: pause, hold, resume, NMI, storms, vCPUs replaced, VMs ended.
///
/// Several threads do these things at once, at random instants, on 1 to 254 vCPUs; the guest and the host check that
/// nothing moves while it is held, that everything goes on afterwards, and that no exit is lost or doubled. A hang is reported
/// within seconds with every vCPU's word and every thread's stack. A failure names the seed that it happens with.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask hammer
  cargo xtask hammer --minutes 60 --seed 1
  cargo xtask hammer --seed 4711 --programs 1
  cargo xtask hammer --tsan --minutes 10")]
struct HammerArgs {
    /// How long
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Seed of the first program, the next one's is one more; any, if not given
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// So many programs, however long they take
    #[arg(long, value_name = "N", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    programs: Option<u64>,
    /// Under ThreadSanitizer; needs a nightly toolchain with the component rust-src
    #[arg(long)]
    tsan: bool,
}

impl HammerArgs {
    fn options(&self) -> hammer::Options {
        hammer::Options {
            minutes: self.minutes,
            seed: self.seed,
            programs: self.programs,
            sanitizer: if self.tsan { hammer::Sanitizer::Thread } else { hammer::Sanitizer::None },
        }
    }
}

/// Boot Debian's stock cloud kernel with a shell on this terminal.
///
/// On this machine's KVM where that can run Linux, else in the nested host; it says which. Leave the shell to power off.
#[derive(Args)]
#[command(after_help = "Example:\n  cargo xtask linux --cpus 4")]
struct LinuxArgs {
    /// vCPUs
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    cpus: u32,
    /// Memory of the guest in MiB
    #[arg(long, default_value_t = 512, value_name = "MIB", value_parser = clap::value_parser!(u32).range(128..=65536))]
    mem: u32,
}

/// The Linux tests themselves, where the KVM can run Linux; results in TAP.
#[derive(Args)]
struct LinuxTestsArgs {
    /// The VMM to test
    #[arg(long, value_name = "PATH")]
    stillpoint: PathBuf,
    /// Directory with vmlinuz, vmlinux and initramfs
    #[arg(long, value_name = "DIR")]
    guest: PathBuf,
    /// Where the logs go
    #[arg(long, value_name = "DIR")]
    logs: PathBuf,
    /// Only tests whose names contain this, or one of these: TEXT|TEXT
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the I-th of N parts of these, counted from 0: I/N
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    part: linux_tests::Part,
}

impl LinuxTestsArgs {
    fn run(self) -> Result<u8> {
        let bed = linux_tests::Bed {
            stillpoint: self.stillpoint,
            guest: Guest::at(&self.guest),
            logs: self.logs,
        };
        Ok(u8::from(!linux_tests::run(&bed, self.only.as_deref(), self.part)?))
    }
}

/// Run a command in the nested host: Debian's kernel with the real KVM, in an emulated machine.
///
/// The command finds `stillpoint` (freshly built) on its path, a guest's kernel and initramfs in /guest, and what `--files`
/// takes along in /files, where it starts. Its output, exit status and, with `--out`, what it leaves in /out come back.
/// Status 125 says that the nested host itself failed.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask host -- ls -l /dev/kvm
  cargo xtask host -- stillpoint run --kernel /guest/vmlinuz --initramfs /guest/initramfs \\
      --cmdline 'console=ttyS0 sp.run=check' --memory size=256M
  cargo xtask host --files target/release/tool --out results -- sh -c './tool >/out/log'")]
struct HostArgs {
    /// A file or directory to take along, to /files/NAME or to the path after `=`; can be repeated
    #[arg(long, value_name = "PATH[=DEST]", num_args = 1..)]
    files: Vec<String>,
    /// Where to put what the command leaves in /out
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Emulated processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// Memory in MiB
    #[arg(long, default_value_t = 2048, value_name = "MIB", value_parser = clap::value_parser!(u32).range(512..))]
    mem: u32,
    /// Seconds after which a nested host that has not ended is reported and ended
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    limit: u64,
    /// Give the command this terminal
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl HostArgs {
    fn run(self) -> Result<u8> {
        let options = host::Options {
            smp: self.smp,
            mem: self.mem,
            files: self.files.iter().map(|spec| destination(spec)).collect(),
            out: self.out,
            limit: Duration::from_secs(self.limit),
        };
        if self.tty {
            return host::run(&options, &self.command, Streams::Terminal);
        }
        let mut each = |output: Output<'_>| {
            // A reader that went away wants no more; the command runs on and its status still counts.
            let _ = match output {
                Output::Out(bytes) => {
                    std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush())
                }
                Output::Err(bytes) => std::io::stderr().write_all(bytes),
            };
        };
        host::run(&options, &self.command, Streams::Piped(&mut each))
    }
}

/// Takes `PATH[=DEST]` apart.
fn destination(spec: &str) -> (PathBuf, String) {
    if let Some((path, to)) = spec.split_once('=') {
        return (PathBuf::from(path), to.to_owned());
    }
    let name = Path::new(spec).file_name().unwrap_or_default().to_string_lossy();
    (PathBuf::from(spec), format!("files/{name}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn files_go_to_their_places() {
        assert_eq!(destination("a/b"), (PathBuf::from("a/b"), "files/b".to_owned()));
        assert_eq!(destination("a/b=/bin/c"), (PathBuf::from("a/b"), "/bin/c".to_owned()));
    }
}
