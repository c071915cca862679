//! `stillpoint-bench pause`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use super::{Common, check_kvm, count, plan, size, vcpus};
use crate::cell::{ClientClass, Guest, Load, Place};
use crate::cycles::Plan;
use crate::measure::{self, Measured, Server};
use crate::report::{self, Host, Report, digits};
use crate::{start, subject};

/// Pause and resume latency, start time and memory, as a table, JSON and a plot
#[derive(Args)]
#[command(after_help = "Examples:
  stillpoint-bench pause
  stillpoint-bench pause --json pause.json --svg pause.svg
  stillpoint-bench pause --quick
  stillpoint-bench pause --vcpus 64 --guest spinning --at socket,threads --cycles 200 --starts 0
  chrt -R -f 50 stillpoint-bench pause      without this program's own waits for a CPU, which others take")]
pub(super) struct PauseArgs {
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

impl PauseArgs {
    pub(super) fn run(self) -> Result<()> {
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
