//! Boots and controls virtual machines.
//!
//! Every command but `run` and `serve` is a client of the API of a VMM that runs elsewhere.
mod args;
mod arrive;
mod attend;
mod backend;
mod client;
mod commands;
mod detach;
mod devices;
mod embed;
mod escape;
mod events;
mod failure;
mod info;
mod keys;
mod logging;
mod ls;
mod migrate;
mod names;
mod output;
mod run;
mod serve;
mod signals;
mod snapshot;
mod target;
mod terminal;
mod top;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let started = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => return fail(&failure::of_clap(&error), false),
        },
    };
    let detached = match &cli.command {
        Command::Run(run) => run.place.detached,
        Command::Restore(restore) => restore.place.detached,
        Command::Receive(receive) => receive.place.detached,
        _ => false,
    };
    if detached {
        detach::leave_session();
    }
    match execute(&cli, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, detached),
    }
}

fn execute(cli: &Cli, started: Instant) -> Result<(), Failure> {
    match &cli.command {
        Command::Run(options) => run::run(options, &cli.logging, started),
        Command::Serve(options) => serve::serve(options, &cli.logging),
        Command::Ls(options) => ls::ls(options),
        Command::Info(options) => info::info(options),
        Command::Pause(target) => commands::put(target, "vm.pause"),
        Command::Resume(target) => commands::put(target, "vm.resume"),
        Command::Nmi(target) => commands::put(target, "vm.nmi"),
        Command::PowerButton(target) => commands::put(target, "vm.power-button"),
        Command::Reboot(target) => commands::put(target, "vm.reboot"),
        Command::AddDisk(options) => devices::add_disk(options),
        Command::AddNet(options) => devices::add_net(options),
        Command::AddVsock(options) => devices::add_vsock(options),
        Command::RemoveDevice(options) => devices::remove(options),
        Command::ResizeDisk(options) => devices::resize_disk(options),
        Command::Resize(options) => devices::resize(options),
        Command::Snapshot(options) => snapshot::snapshot(options),
        Command::Restore(options) => arrive::restore(options, &cli.logging, started),
        Command::Migrate(options) => migrate::migrate(options),
        Command::Receive(options) => arrive::receive(options, &cli.logging, started),
        Command::Stop(target) => commands::stop(target),
        Command::Kill(target) => commands::kill(target),
        Command::Top(target) => top::top(target),
    }
}

fn fail(failure: &Failure, detached: bool) -> ExitCode {
    if let Some(message) = failure.message() {
        if detached {
            detach::report_error(&message);
        } else {
            // Without anybody to tell, the exit status says it all.
            let _ = writeln!(std::io::stderr(), "error: {message}");
        }
    }
    ExitCode::from(failure.exit_status())
}
