//! The host's end of a console: where bytes come from and go to.
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::descriptor::Descriptor;
use super::error::ConsoleError;
use super::socket::Listener;

/// Where a console's host side goes.
#[derive(Debug)]
pub enum Backend {
    /// Nowhere: output is thrown away, there is no input.
    Null,
    /// To the end of a file, which is created when it does not exist. There is no input.
    File(PathBuf),
    /// To a new pseudo-terminal, whose path [`super::HostConsole::location`] tells.
    Pty,
    /// To the one client at a time of a Unix socket at this path. Output waits for the
    /// first client, as far as the ring holds it.
    Socket(PathBuf),
    /// To descriptors that the caller has: usually its standard input and output, as
    /// duplicates. The terminal's mode is the caller's business. If it may be in the background
    /// of a job-control shell, so is `SIGTTIN`.
    Terminal {
        /// Where input comes from.
        input: OwnedFd,
        /// Where output goes.
        output: OwnedFd,
        /// Readable when the terminal's size may have changed: the end of a pipe into which the caller's handler of
        /// `SIGWINCH` writes.
        resized: Option<OwnedFd>,
    },
}

/// What the console's thread reads, writes and listens to.
#[derive(Default)]
pub(super) struct Host {
    /// Where input comes from, until its end.
    pub(super) input: Option<Arc<Descriptor>>,
    /// Where output goes, until nobody is there any more.
    pub(super) output: Option<Arc<Descriptor>>,
    /// Where new clients come from.
    pub(super) listener: Option<Listener>,
    /// What may be a terminal, and so have a size.
    pub(super) terminal: Option<Arc<Descriptor>>,
    /// What says that the size may have changed, if anything does.
    pub(super) resized: Option<Descriptor>,
    /// The other end of our pseudo-terminal. As long as it is open, the master knows no
    /// hang-up, and whoever opens it next finds the terminal as it was.
    _slave: Option<OwnedFd>,
}

impl Backend {
    /// Opens it. Gives what the thread needs (nothing: no thread), and the path that people can
    /// connect to or look into.
    pub(super) fn open(self) -> Result<(Option<Host>, Option<PathBuf>), ConsoleError> {
        match self {
            Self::Null => Ok((None, None)),
            Self::File(path) => {
                let output = append_to(&path)
                    .map_err(|source| ConsoleError::File { path: path.clone(), source })?;
                let host = Host { output: Some(Arc::new(output)), ..Host::default() };
                Ok((Some(host), Some(path)))
            }
            Self::Pty => {
                let (host, path) = open_pty().map_err(|e| ConsoleError::Pty(e.into()))?;
                Ok((Some(host), Some(path)))
            }
            Self::Socket(path) => {
                let listener = Some(Listener::bind(&path)?);
                Ok((Some(Host { listener, ..Host::default() }), Some(path)))
            }
            Self::Terminal { input, output, resized } => {
                let prepare = |fd, what| {
                    let done = Descriptor::inherited(fd).map(|fd| Some(Arc::new(fd)));
                    done.map_err(|e| ConsoleError::Descriptor { what, source: e.into() })
                };
                let input = prepare(input, "input")?;
                let output = prepare(output, "output")?;
                let resized = resized.map(Descriptor::inherited).transpose().map_err(|e| {
                    ConsoleError::Descriptor {
                        what: "pipe that tells of its size",
                        source: e.into(),
                    }
                })?;
                let terminal = output.clone();
                Ok((Some(Host { input, output, terminal, resized, ..Host::default() }), None))
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<Descriptor> {
    // Non-blocking, in case it is a pipe.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).custom_flags(flags).open(path)?;
    Ok(Descriptor::opened(file.into())?)
}

fn open_pty() -> rustix::io::Result<(Host, PathBuf)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = std::ffi::OsString::from_vec(ptsname(&master, Vec::new())?.into_bytes());
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    // Otherwise it would echo what the guest prints back to the guest.
    let mut mode = tcgetattr(&slave)?;
    mode.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &mode)?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    let master = Arc::new(Descriptor::own(master));
    let host = Host {
        input: Some(Arc::clone(&master)),
        output: Some(Arc::clone(&master)),
        terminal: Some(master),
        _slave: Some(slave),
        ..Host::default()
    };
    Ok((host, path.into()))
}
