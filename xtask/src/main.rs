//! Tests, benchmarks and the nested test host, as `cargo xtask …`.
mod bench;
mod build;
mod cli;
mod diagram;
mod hammer;
mod host;
mod image;
mod kvm;
mod linux;
mod linux_tests;
mod model_mutants;
mod mutants;
mod packages;
mod paths;
mod progress;
mod suites;
mod taps;
mod terminal;
mod tool;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(125)
        }
    }
}
