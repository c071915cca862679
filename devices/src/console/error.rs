//! Why a console could not be started.
use std::io;
use std::path::PathBuf;

/// Why a console could not be started. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// A file could not be opened.
    #[error("cannot open {path} for the console's output: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No pseudo-terminal could be made.
    #[error("cannot make a pseudo-terminal: {0}")]
    Pty(#[source] io::Error),
    /// A terminal, pipe or socket that was handed in could not be prepared.
    #[error("cannot use the console's {what}: {source}")]
    Descriptor {
        /// Which one.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Something that is no socket is in the place of a socket.
    #[error("{path} exists and is not a socket; name a path that is free", path = path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A live process listens on the socket.
    #[error("the socket {path} is in use by another process", path = path.display())]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// The socket could not be made.
    #[error("cannot listen on the socket {path}: {source}", path = path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The console's thread or its wake-up could not be made.
    #[error("cannot start the console's thread: {0}")]
    Thread(#[source] io::Error),
}
