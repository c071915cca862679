//! Measures pause, resume, start, device I/O and migration of Stillpoint.
//!
//! ```text
//!   cli ─▶ measure ─▶ cycles over a Subject ─▶ stats ─▶ report: terminal, JSON, SVG
//!                        ├ subject::Socket      a `stillpoint` process behind its API socket
//!                        ├ subject::InProcess   a VMM in this process
//!                        └ floor::Floor         plain threads: the floor
//! ```
//!
//! Whatever is started here is ended on every path: processes and VMMs are owned by guards, SIGINT and
//! SIGTERM end the measurement by an error, and a process is killed by the kernel when this one dies.

mod breakdown;
mod cell;
mod cli;
mod cycles;
mod floor;
mod guest_memory;
mod http;
mod io;
mod latency;
mod mappings;
mod measure;
mod migration;
mod pace;
mod reference;
mod report;
mod scheduler;
mod start;
mod stats;
mod subject;
mod throttle;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stillpoint-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
