//! The host's ends of a VM's two consoles. They are opened at the first boot and outlive reboots.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use devices::CounterSource;
pub use devices::console::InputFilter;
use devices::console::{Backend, ConsoleError, HostConsole};

use crate::config::{ConsoleConfig, ConsoleMode, VmConfig};

/// The terminal that a console in mode `Tty` is attached to.
pub struct Terminal {
    /// Where keys come from.
    pub input: OwnedFd,
    /// Where output goes.
    pub output: OwnedFd,
    /// Readable when the terminal's size may have changed, if anything says so.
    pub resized: Option<OwnedFd>,
    /// What stands between the keys and the guest.
    pub filter: Box<dyn InputFilter>,
}

/// Opens the terminal, as the program that owns it does; called when a console needs it.
pub type OpenTerminal = Box<dyn Fn() -> io::Result<Terminal> + Send + Sync>;

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
    /// The terminal cannot be opened.
    #[error("{console}: cannot open the terminal: {source}")]
    Terminal {
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
    /// The virtio console.
    pub console: Option<HostConsole>,
}

impl Consoles {
    /// Opens what the configuration asks for.
    ///
    /// # Errors
    /// The first that cannot be opened; none is left open then.
    pub fn open(
        config: &VmConfig,
        terminal: Option<&OpenTerminal>,
    ) -> Result<Self, OpenConsoleError> {
        Ok(Self {
            serial: open("serial", &config.serial, terminal)?,
            console: open("console", &config.console, terminal)?,
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
    terminal: Option<&OpenTerminal>,
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
            let open = terminal.ok_or(OpenConsoleError::NoTty { console: name })?;
            let failed = |source| OpenConsoleError::Terminal { console: name, source };
            let terminal = open().map_err(failed)?;
            filter = Some(terminal.filter);
            let Terminal { input, output, resized, .. } = terminal;
            Backend::Terminal { input, output, resized }
        }
    };
    HostConsole::start(name, backend, filter)
        .map(Some)
        .map_err(|source| OpenConsoleError::Host { console: name, source })
}
