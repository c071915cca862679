//! The host's ends of a VM's two consoles. They are opened at the first boot and outlive reboots.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use devices::CounterSource;
use devices::console::{Backend, ConsoleError, HostConsole, InputFilter};

use crate::config::{ConsoleConfig, ConsoleMode, VmConfig};

/// The terminal that a console in mode `Tty` is attached to, as the program that owns it says.
pub struct Tty {
    /// Where keys come from.
    pub input: OwnedFd,
    /// Where output goes.
    pub output: OwnedFd,
    /// Makes what stands between the keys and the guest.
    pub filter: Box<dyn Fn() -> Box<dyn InputFilter> + Send>,
}

/// A console could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenConsoleError {
    /// The host side.
    #[error("{console}: {source}")]
    Host {
        /// Which one.
        console: &'static str,
        /// Why.
        source: ConsoleError,
    },
    /// There is no terminal.
    #[error("{console}: mode Tty needs a VMM that runs in a terminal; use Pty, File or Socket")]
    NoTty {
        /// Which one.
        console: &'static str,
    },
    /// The mode needs a path, and has none.
    #[error("{console}: mode {mode:?} needs a path")]
    NoPath {
        /// Which one.
        console: &'static str,
        /// The mode.
        mode: ConsoleMode,
    },
    /// The terminal's descriptors cannot be duplicated.
    #[error("{console}: cannot duplicate the terminal's descriptors: {source}")]
    Duplicate {
        /// Which one.
        console: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The host's ends, where there are devices for them.
pub struct Consoles {
    /// COM1.
    pub serial: Option<HostConsole>,
    /// COM2.
    pub console: Option<HostConsole>,
}

impl Consoles {
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// The first that cannot be opened; none is left open then.
    pub fn open(config: &VmConfig, tty: Option<&Tty>) -> Result<Self, OpenConsoleError> {
        Ok(Self {
            serial: open("serial", &config.serial, tty)?,
            console: open("console", &config.console, tty)?,
        })
    }

    /// The configuration with the paths of the pseudo-terminals that were made.
    #[must_use]
    pub fn fill_in(&self, config: &VmConfig) -> VmConfig {
        let mut shown = config.clone();
        for (section, host) in
            [(&mut shown.serial, &self.serial), (&mut shown.console, &self.console)]
        {
            if section.mode == ConsoleMode::Pty {
                section.file = host.as_ref().and_then(|h| h.location().map(PathBuf::from));
            }
        }
        shown
    }

    /// What each console counts, by its name in `vm.counters`.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, Vec<(&'static str, u64)>)> + '_ {
        [("serial", &self.serial), ("console", &self.console)]
            .into_iter()
            .filter_map(|(name, host)| Some((name, host.as_ref()?.counters())))
    }
}

fn open(
    name: &'static str,
    config: &ConsoleConfig,
    tty: Option<&Tty>,
) -> Result<Option<HostConsole>, OpenConsoleError> {
    let path = |path: &Option<PathBuf>| {
        path.clone().ok_or(OpenConsoleError::NoPath { console: name, mode: config.mode })
    };
    let mut filter = None;
    let backend = match config.mode {
        ConsoleMode::Off => return Ok(None),
        ConsoleMode::Null => Backend::Null,
        ConsoleMode::Pty => Backend::Pty,
        ConsoleMode::File => Backend::File(path(&config.file)?),
        ConsoleMode::Socket => Backend::Socket(path(&config.socket)?),
        ConsoleMode::Tty => {
            let tty = tty.ok_or(OpenConsoleError::NoTty { console: name })?;
            filter = Some((tty.filter)());
            let copy = |fd: &OwnedFd| {
                fd.try_clone()
                    .map_err(|source| OpenConsoleError::Duplicate { console: name, source })
            };
            Backend::Terminal { input: copy(&tty.input)?, output: copy(&tty.output)? }
        }
    };
    HostConsole::start(name, backend, filter)
        .map(Some)
        .map_err(|source| OpenConsoleError::Host { console: name, source })
}
