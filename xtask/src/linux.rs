//! `cargo xtask linux`: Debian's stock cloud kernel with a shell to type in.
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::host::{self, Streams};
use crate::image::guest::Guest;
use crate::kvm::{self, Kvm};
use crate::packages::Packages;
use crate::paths;
use crate::progress::step;
use crate::terminal::Terminal;

/// The guest that is asked for.
pub struct Options {
    /// vCPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub mem: u32,
}

/// Boots it on the first KVM that can run Linux: this machine's, else the nested host's.
pub fn run(options: &Options) -> Result<u8> {
    let cmdline = format!("console=ttyS0 quiet sp.run=shell{}", Terminal::remember()?.words());
    match kvm::detect() {
        Kvm::Hardware => {
            step("on this machine's KVM; Ctrl-A x ends it");
            return directly(options, &cmdline);
        }
        Kvm::Software => {
            step(
                "in the nested host (this machine's KVM has no VT-x or SVM, so it can't run Linux); Ctrl-A x ends it",
            );
        }
        Kvm::Unusable(reason) => {
            step(format_args!("in the nested host ({reason}); Ctrl-A x ends it"));
        }
    }
    let host = host::Options { mem: options.mem + 1024, ..host::Options::default() };
    let command = stillpoint("stillpoint", "/guest/vmlinuz", "/guest/initramfs", &cmdline, options);
    host::run(&host, &command, Streams::Terminal)
}

fn directly(options: &Options, cmdline: &str) -> Result<u8> {
    let program = build::stillpoint()?;
    let guest = Guest::build(&paths::target().join("linux-guest"), &Packages::fetch()?)?;
    let words = stillpoint(
        &program.to_string_lossy(),
        &guest.bzimage().to_string_lossy(),
        &guest.initramfs().to_string_lossy(),
        cmdline,
        options,
    );
    let status =
        Command::new(&words[0]).args(&words[1..]).status().context("cannot start stillpoint")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn stillpoint(
    program: &str,
    kernel: &str,
    initramfs: &str,
    cmdline: &str,
    options: &Options,
) -> Vec<String> {
    let cpus = format!("boot={}", options.cpus);
    let memory = format!("size={}M", options.mem);
    let words = [
        program,
        "run",
        "--name",
        "linux",
        "--kernel",
        kernel,
        "--initramfs",
        initramfs,
        "--cmdline",
        cmdline,
        "--cpus",
        &cpus,
        "--memory",
        &memory,
        "--serial",
        "tty",
    ];
    words.map(str::to_owned).to_vec()
}
