//! The command line.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::cell::{ClientClass, Guest, Load, Place};
use crate::cycles::Plan;
use crate::measure::{self, Measured, Server};
use crate::report::{self, Host, Report, digits};
use crate::subject;
use crate::{breakdown, io, latency, pace, start, throttle};

/// Measures how long Stillpoint takes to pause, resume and start a VM.
///
/// The guest is the embedded one, booted with its vCPUs halted or spinning natively. Every figure is compared with plain
/// threads that are stopped by one signal each in the same run, and with what other VMMs need.
#[derive(Parser)]
#[command(name = "stillpoint-bench", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pause(PauseArgs),
    Breakdown(BreakdownArgs),
    Throttle(ThrottleArgs),
    Latency(LatencyArgs),
    Io(IoArgs),
}

/// Pause and resume latency, start time and memory, as a table, JSON and a plot
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench pause
  stillpoint-bench pause --json pause.json --svg pause.svg
  stillpoint-bench pause --quick
  stillpoint-bench pause --vcpus 64 --guest spinning --at socket,threads --cycles 200 --starts 0
  chrt -R -f 50 stillpoint-bench pause      without this program's own waits for a CPU, which others take")]
struct PauseArgs {
    /// Numbers of vCPUs [default: 1,8,64,254]
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = vcpus())]
    vcpus: Option<Vec<u32>>,
    /// What the vCPUs do
    #[arg(long, value_delimiter = ',', value_name = "GUEST,…", default_values = ["halted", "spinning"])]
    guest: Vec<Guest>,
    /// Where to measure
    #[arg(long, value_delimiter = ',', value_name = "PLACE,…", default_values = ["socket", "in-process", "threads"])]
    at: Vec<Place>,
    /// How the client at the socket is scheduled
    #[arg(long, value_name = "CLASS", default_value = "prompt")]
    client: ClientClass,
    /// Cycles with the guest running in between [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cycles: Option<u32>,
    /// Cycles back to back [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    storm: Option<u32>,
    /// Starts to measure with the smallest number of vCPUs, half as many with the largest; 0 leaves start and memory out [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    starts: Option<u32>,
    /// Few cycles, 1 and 8 vCPUs: to see that all of it works
    #[arg(long)]
    quick: bool,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Where the time of a pause goes
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench breakdown
  stillpoint-bench breakdown --vcpus 254 --guest spinning")]
struct BreakdownArgs {
    /// Number of vCPUs
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = vcpus())]
    vcpus: u32,
    /// What they do
    #[arg(long, default_value = "halted")]
    guest: Guest,
    /// Cycles with the guest running in between
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cycles: u32,
    #[command(flatten)]
    common: Common,
}

/// How well a throttle keeps its set point, for vCPUs that spin
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench throttle
  stillpoint-bench throttle --percent 50 --period 1,2,5 --seconds 10")]
struct ThrottleArgs {
    /// Number of vCPUs; the guest's own share is comparable only with a processor for each
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = vcpus())]
    vcpus: u32,
    /// Set points: for how many percent of the time the vCPUs are held
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,…", default_values = ["1", "10", "50", "90", "99"], value_parser = clap::value_parser!(u8).range(1..=99))]
    percent: Vec<u8>,
    /// Periods, in milliseconds
    #[arg(long, value_delimiter = ',', value_name = "MS,…", default_values = ["1", "10", "100"], value_parser = clap::value_parser!(u32).range(1..=60_000))]
    period: Vec<u32>,
    /// How long each is watched
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

/// Block requests of a guest next to a plain program's, and what an exit costs
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench io
  stillpoint-bench io --only dispatch
  stillpoint-bench io --only block --dir /dev/shm --milliseconds 1000")]
struct IoArgs {
    /// What is measured
    #[arg(long, value_delimiter = ',', value_name = "PART,…", default_values = ["block", "dispatch", "registers"])]
    only: Vec<IoPart>,
    /// Where the disk's image is made
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    dir: PathBuf,
    /// How long each side runs at a time
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    milliseconds: u32,
    /// Turns of each side, of which the medians are shown
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    turns: u32,
}

/// A part of the measurement of device I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum IoPart {
    /// virtio-blk
    Block,
    /// Exits
    Dispatch,
    /// Pauses while vCPUs are at registers
    Registers,
}

/// How long vCPUs that an interrupt wakes wait for a processor on a busy host, and whether pauses cost them any
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench latency
  stillpoint-bench latency --busy 8 --rounds 10")]
struct LatencyArgs {
    /// Number of vCPUs, halted, each woken by a timer a thousand times a second
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = vcpus())]
    vcpus: u32,
    /// Threads that spin beside them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=1024))]
    busy: u32,
    /// How often each kind of thread has its turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long a turn is
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

#[derive(Args)]
struct Common {
    /// How long the guest runs at least between two cycles, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    settle: u32,
    /// The program to measure [default: `stillpoint` beside this program]
    #[arg(long, value_name = "PATH")]
    stillpoint: Option<PathBuf>,
}

fn vcpus() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1024)
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<()> {
        pace::catch_signals()?;
        match self.command {
            Command::Pause(args) => args.run(),
            Command::Breakdown(args) => args.run(),
            Command::Throttle(args) => args.run(),
            Command::Latency(args) => args.run(),
            Command::Io(args) => args.run(),
        }
    }
}

impl BreakdownArgs {
    fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let stillpoint = subject::find(self.common.stillpoint.clone())?;
        let load = Load { vcpus: count(self.vcpus)?, guest: self.guest };
        // Its storm is not shown.
        let plan = plan(self.cycles, 1, self.common.settle);
        print!("{}", breakdown::breakdown(load, plan, &stillpoint)?);
        Ok(())
    }
}

impl ThrottleArgs {
    fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let millis = |ms: u32| Duration::from_millis(u64::from(ms));
        let plan = throttle::Plan {
            load: Load { vcpus: count(self.vcpus)?, guest: Guest::Spinning },
            percents: self.percent,
            periods: self.period.into_iter().map(millis).collect(),
            window: Duration::from_secs(u64::from(self.seconds)),
        };
        print!("{}", throttle::throttle(&plan)?);
        Ok(())
    }
}

impl IoArgs {
    fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let plan = io::Plan {
            window: Duration::from_millis(u64::from(self.milliseconds)),
            turns: size(self.turns),
            dir: self.dir,
        };
        for part in self.only {
            match part {
                IoPart::Block => print!("{}", io::block(&plan)?),
                IoPart::Dispatch => print!("{}", io::dispatch()?),
                IoPart::Registers => print!("{}", io::registers(&plan)?),
            }
        }
        Ok(())
    }
}

impl LatencyArgs {
    fn run(self) -> Result<()> {
        check_kvm(Path::new("/dev/kvm"))?;
        let plan = latency::Plan {
            vcpus: count(self.vcpus)?,
            busy: self.busy,
            rounds: self.rounds,
            window: Duration::from_secs(u64::from(self.seconds)),
        };
        print!("{}", latency::latency(plan)?);
        Ok(())
    }
}

impl PauseArgs {
    fn run(self) -> Result<()> {
        let needs_kvm = self.at.iter().any(|place| *place != Place::Threads);
        let stillpoint = if self.at.contains(&Place::Socket) {
            subject::find(self.common.stillpoint.clone())?
        } else {
            PathBuf::new()
        };
        if needs_kvm {
            check_kvm(Path::new("/dev/kvm"))?;
        }
        let mut report = Report {
            host: Host::this(),
            client: self.client,
            measured: Vec::new(),
            starts: Vec::new(),
            memory: None,
        };
        // What has been measured before an error, or Ctrl-C, is worth showing too.
        let measured = self.measure(&stillpoint, &mut report);
        if measured.is_ok() || !report.measured.is_empty() {
            self.show(&report)?;
        }
        measured
    }

    fn show(&self, report: &Report) -> Result<()> {
        print!("{}", report::print(report));
        if let Some(path) = &self.json {
            report::write_json(report, path)?;
        }
        if let Some(path) = &self.svg {
            report::write_svg(report, path)?;
        }
        Ok(())
    }

    fn measure(&self, stillpoint: &Path, report: &mut Report) -> Result<()> {
        let usual: &[u32] = if self.quick { &[1, 8] } else { &[1, 8, 64, 254] };
        let numbers = self.vcpus.as_deref().unwrap_or(usual);
        if let Some(warning) = report.host.warning() {
            eprintln!("warning: {warning}");
        }
        // First, while the machine is quiet.
        if self.at.contains(&Place::Socket) {
            self.measure_start(stillpoint, numbers, report)?;
        }
        let plan = plan(
            self.cycles.unwrap_or(if self.quick { 10 } else { 100 }),
            self.storm.unwrap_or(if self.quick { 100 } else { 1000 }),
            self.common.settle,
        );
        for vcpus in numbers {
            for guest in &self.guest {
                let load = Load { vcpus: count(*vcpus)?, guest: *guest };
                for place in &self.at {
                    let server = Server { stillpoint, client: self.client };
                    report.measured.extend(one(*place, load, plan, server)?);
                }
            }
        }
        Ok(())
    }

    fn measure_start(&self, stillpoint: &Path, numbers: &[u32], report: &mut Report) -> Result<()> {
        let runs = self.starts.unwrap_or(if self.quick { 5 } else { 20 });
        let (Some(least), Some(most)) = (numbers.iter().min(), numbers.iter().max()) else {
            return Ok(());
        };
        if runs == 0 {
            return Ok(());
        }
        eprintln!("start with {least} vCPUs, {runs} times, and memory …");
        report.starts.extend(start::measure(stillpoint, count(*least)?, size(runs))?);
        report.memory = Some(start::memory(stillpoint)?);
        if most > least {
            let runs = runs.div_ceil(2);
            eprintln!("start with {most} vCPUs, {runs} times …");
            report.starts.extend(start::measure(stillpoint, count(*most)?, size(runs))?);
        }
        Ok(())
    }
}

/// One load at one place, with progress.
fn one(place: Place, load: Load, plan: Plan, server: Server<'_>) -> Result<[Measured; 2]> {
    eprint!("{load}, {} …", place.name());
    let begun = Instant::now();
    let measured = measure::measure(place, load, plan, server).inspect_err(|_| eprintln!());
    let measured = measured.with_context(|| format!("{load}, {}", place.name()))?;
    let [pause, resume] = measured.map(|measured| digits(measured.paced.median_ms));
    eprintln!(" pause {pause} ms, resume {resume} ms ({:.0} s)", begun.elapsed().as_secs_f64());
    Ok(measured)
}

fn plan(cycles: u32, storm: u32, settle_ms: u32) -> Plan {
    Plan {
        cycles: size(cycles),
        storm: size(storm),
        settle: Duration::from_millis(u64::from(settle_ms)),
    }
}

/// Lossless where `usize` has 32 bits or more.
fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn count(vcpus: u32) -> Result<NonZeroU32> {
    NonZeroU32::new(vcpus).context("a VM has at least one vCPU")
}

fn check_kvm(device: &Path) -> Result<()> {
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no {}: load the kernel's kvm module, or measure plain threads only with --at threads",
            device.display()
        ),
        Err(error) => bail!("cannot open {}: {error}", device.display()),
    }
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
    fn numbers_of_vcpus_are_checked() {
        for (vcpus, good) in [("1,1024", true), ("0", false), ("1025", false), ("many", false)] {
            let parsed = Cli::try_parse_from(["bench", "pause", "--vcpus", vcpus]);
            assert_eq!(parsed.is_ok(), good, "{vcpus}");
        }
    }

    #[test]
    fn a_host_without_kvm_is_told_what_it_lacks() {
        let error = check_kvm(Path::new("/nowhere/kvm")).unwrap_err().to_string();
        assert!(error.contains("no /nowhere/kvm") && error.contains("--at threads"), "{error}");
    }
}
