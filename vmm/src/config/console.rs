//! Consoles: `--serial off|null|tty|pty|file=PATH|socket=PATH` (a 16550), and `--console` with the same
//! values and `id=` (virtio-console).
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Allowed, ConfigError, OptionProblem};
use super::options::{Grammar, Options};
use super::unsupported::Section;
use super::values::quote;

/// Where a console's host side goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsoleMode {
    /// No device.
    #[default]
    Off,
    /// A device whose output is thrown away.
    Null,
    /// The terminal that the VMM runs on.
    Tty,
    /// A new pseudo-terminal, whose path `vm.info` tells.
    Pty,
    /// A file that output is appended to.
    File,
    /// A Unix socket that clients connect to.
    Socket,
}

/// One console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleConfig {
    /// Where the host side goes.
    pub mode: ConsoleMode,
    /// For `File`, the file to write; for `Pty`, the pseudo-terminal that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// For `Socket`, the socket to listen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Name of the device in requests, only for the virtio console; made when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl ConsoleConfig {
    /// A console of a mode that needs no path.
    pub const fn of_mode(mode: ConsoleMode) -> Self {
        Self { mode, file: None, socket: None, id: None }
    }

    /// What follows `--serial`.
    pub fn parse_serial(text: &str) -> Result<Self, ConfigError> {
        Self::parse(&SERIAL, text)
    }

    /// What follows `--console`.
    pub fn parse_console(text: &str) -> Result<Self, ConfigError> {
        Self::parse(&CONSOLE, text)
    }

    fn parse(grammar: &Grammar, text: &str) -> Result<Self, ConfigError> {
        let options = Options::parse(grammar, text)?;
        let mut modes = options.keys().filter(|key| *key != "id");
        let Some(key) = modes.next() else {
            return Err(options.error(options.empty("mode")).into());
        };
        if let Some(other) = modes.next() {
            let conflict = OptionProblem::Conflict(key.to_owned(), other.to_owned());
            return Err(options.error(conflict).into());
        }
        let mode = match key {
            "off" => ConsoleMode::Off,
            "null" => ConsoleMode::Null,
            "tty" => ConsoleMode::Tty,
            "pty" => ConsoleMode::Pty,
            "file" => ConsoleMode::File,
            // The grammar lets nothing else through.
            _ => ConsoleMode::Socket,
        };
        let (file, socket) = (options.path("file")?, options.path("socket")?);
        Ok(Self { mode, file, socket, id: options.text("id")? })
    }
}

const FLAGS: &[&str] = &["off", "null", "tty", "pty"];

const SERIAL: Grammar = Grammar {
    option: "--serial",
    allowed: Allowed { keys: &["file", "socket"], flags: FLAGS },
    section: Section::Serial,
};

const CONSOLE: Grammar = Grammar {
    option: "--console",
    allowed: Allowed { keys: &["file", "socket", "id"], flags: FLAGS },
    section: Section::Console,
};

impl FromStr for ConsoleConfig {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::parse_console(text)
    }
}

impl fmt::Display for ConsoleConfig {
    /// Paths are shown as text: one that is not UTF-8 does not parse back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| {
            quote(&path.as_deref().unwrap_or_else(|| "".as_ref()).to_string_lossy())
        };
        match self.mode {
            ConsoleMode::Off => f.write_str("off"),
            ConsoleMode::Null => f.write_str("null"),
            ConsoleMode::Tty => f.write_str("tty"),
            ConsoleMode::Pty => f.write_str("pty"),
            ConsoleMode::File => write!(f, "file={}", path(&self.file)),
            ConsoleMode::Socket => write!(f, "socket={}", path(&self.socket)),
        }?;
        self.id.as_deref().map_or(Ok(()), |id| write!(f, ",id={}", quote(id)))
    }
}
