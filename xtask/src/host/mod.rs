//! The nested host: QEMU emulates a machine whose processor has AMD's virtualisation extensions; in it runs Debian's own
//! kernel with the real KVM, and in that one command, for which any Linux guest is possible.
//!
//! ```text
//! xtask ── QEMU (emulation) ── Debian's kernel, /sp/command ── stillpoint ── Linux guest
//!   ▲          │ console.log      │ sp.out, sp.err, sp.status      (what is tested)
//!   └──────────┴──────────────────┘ and a raw disk that /out is brought back on
//! ```
//!
//! Nothing is timed in here: emulation is slow. Everything can be checked in here: it is faithful.
mod initramfs;
mod qemu;
mod scratch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::build;
use crate::image::guest::Guest;
use crate::packages::{self, Packages};
use crate::paths;
use crate::progress::step;
pub use qemu::Output;

/// What the nested host is made of.
pub struct Options {
    /// Emulated processors.
    pub smp: u32,
    /// Memory in MiB.
    pub mem: u32,
    /// Files and directories to take along, each with its path in the nested host.
    pub files: Vec<(PathBuf, String)>,
    /// Where to put what the command leaves in `/out`.
    pub out: Option<PathBuf>,
    /// After how long a nested host that has not ended is reported and ended.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { smp: 2, mem: 2048, files: Vec::new(), out: None, limit: Duration::from_mins(15) }
    }
}

/// What the command's standard streams are.
pub enum Streams<'a> {
    /// Its output is handed to this function as it comes.
    Piped(&'a mut dyn FnMut(Output<'_>)),
    /// The terminal that this program runs on.
    Terminal,
}

/// Builds, boots, runs `command` in the nested host and returns its exit status.
///
/// # Errors
/// When the nested host can't be had, or when it crashed or hung; the error then holds the end of its console.
pub fn run(options: &Options, command: &[String], streams: Streams<'_>) -> Result<u8> {
    prepare(options, command)?.run(streams)
}

/// A nested host that could be booted.
pub struct Prepared<'a> {
    options: &'a Options,
    kernel: PathBuf,
    scratch: scratch::Scratch,
}

/// Builds all that it is made of. Several are prepared one after the other: they are built in the same places.
///
/// # Errors
/// When the nested host can't be had.
pub fn prepare<'a>(options: &'a Options, command: &[String]) -> Result<Prepared<'a>> {
    if command.is_empty() {
        bail!("nothing to run: give a command after `--`");
    }
    packages::ensure_qemu()?;
    let packages = Packages::fetch()?;
    let stillpoint = build::stillpoint()?;
    let guest = Guest::build(&paths::target().join("linux-guest"), &packages)?;
    let scratch = scratch::Scratch::new()?;
    let contents = initramfs::Contents {
        packages: &packages,
        stillpoint: &stillpoint,
        guest: &guest,
        files: &options.files,
        command,
    };
    std::fs::write(scratch.initramfs(), contents.pack()?)?;
    scratch.make_disk(options.mem)?;
    Ok(Prepared { options, kernel: packages.host_kernel.image, scratch })
}

impl Prepared<'_> {
    /// Boots it, and returns its command's exit status.
    ///
    /// # Errors
    /// When it crashed or hung; the error then holds the end of its console.
    pub fn run(self, streams: Streams<'_>) -> Result<u8> {
        let Self { options, kernel, scratch } = self;
        step(format_args!(
            "booting the nested host: {} CPUs, {} MiB, emulated",
            options.smp, options.mem
        ));
        let status = qemu::run(options, &kernel, &scratch, streams)?;
        if let Some(out) = &options.out {
            scratch.unpack_disk(out)?;
        }
        scratch.remove()?;
        Ok(status)
    }
}
