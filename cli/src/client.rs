//! A client of the API: one connection, one request at a time.
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vmm::sched::ask_promptly;

/// Why a VMM could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing is there, or nobody behind it.
    #[error("no VMM listens on {}", .0.display())]
    NotRunning(PathBuf),
    /// It takes no connections.
    #[error("the VMM on {} does not take connections; is it stuck?", .0.display())]
    Busy(PathBuf),
    /// It did not answer in time.
    #[error("the VMM on {} does not answer", .0.display())]
    Timeout(PathBuf),
    /// The connection broke.
    #[error("{}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answered what is no answer.
    #[error("{}: not the API of a VMM: {problem}", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It refused, and said why.
    #[error("{message}")]
    Refused {
        /// The HTTP status code.
        status: u16,
        /// Its reasons.
        message: String,
    },
}

impl ClientError {
    /// The HTTP status code of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A connection to a VMM.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects, without waiting for a VMM that does not accept.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let owned = || path.to_path_buf();
        let stream = connect(path).map_err(|error| match error {
            Errno::NOENT | Errno::CONNREFUSED => ClientError::NotRunning(owned()),
            Errno::AGAIN => ClientError::Busy(owned()),
            error => ClientError::Io { path: owned(), source: error.into() },
        })?;
        Ok(Self { path: owned(), stream, unread: Vec::new() })
    }

    /// Waits at most this long for each answer.
    pub fn set_timeout(&self, limit: Duration) -> Result<(), ClientError> {
        self.stream
            .set_read_timeout(Some(limit))
            .and_then(|()| self.stream.set_write_timeout(Some(limit)))
            .map_err(|error| self.io(error))
    }

    /// The process behind the socket, as the kernel knows it.
    pub fn pid(&self) -> Option<Pid> {
        rustix::net::sockopt::socket_peercred(&self.stream).ok().map(|peer| peer.pid)
    }

    /// Asks for a document.
    pub fn get<T: DeserializeOwned>(&mut self, endpoint: &str) -> Result<T, ClientError> {
        let body = self.request("GET", endpoint, &[])?;
        serde_json::from_slice(&body).map_err(|error| self.protocol(error.to_string()))
    }

    /// Asks for a document as text.
    pub fn get_text(&mut self, endpoint: &str) -> Result<String, ClientError> {
        let body = self.request("GET", endpoint, &[])?;
        String::from_utf8(body).map_err(|error| self.protocol(error.to_string()))
    }

    /// Asks for something to be done, and returns when it is.
    pub fn put(&mut self, endpoint: &str) -> Result<(), ClientError> {
        self.request("PUT", endpoint, &[]).map(drop)
    }

    /// Asks for what `body` says to be done. None if there is nothing to tell (204).
    pub fn send<T: DeserializeOwned>(
        &mut self,
        endpoint: &str,
        body: &impl Serialize,
    ) -> Result<Option<T>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.io(error.into()))?;
        let answer = self.request("PUT", endpoint, &body)?;
        if answer.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&answer).map(Some).map_err(|error| self.protocol(error.to_string()))
    }

    fn request(
        &mut self,
        method: &str,
        endpoint: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        // The person who asks waits; on a host full of spinning vCPUs an ordinary task would, too.
        ask_promptly(|| self.exchange(method, endpoint, body))
    }

    fn exchange(
        &mut self,
        method: &str,
        endpoint: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        let head = format!(
            "{method} /api/v1/{endpoint} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // In one piece: one write wakes the VMM once.
        let request = [head.as_bytes(), body].concat();
        self.stream.write_all(&request).map_err(|error| self.io(error))?;
        let (status, length) = loop {
            match self.head()? {
                Some((status, start, length)) => {
                    self.unread.drain(..start);
                    break (status, length);
                }
                None => self.fill()?,
            }
        };
        while self.unread.len() < length {
            self.fill()?;
        }
        let body: Vec<u8> = self.unread.drain(..length).collect();
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let message = serde_json::from_slice::<Vec<String>>(&body)
            .map_or_else(|_| String::from_utf8_lossy(&body).into_owned(), |chain| chain.join(": "));
        Err(ClientError::Refused { status, message })
    }

    /// Status, length of the head and length of the body, when the head is there.
    fn head(&self) -> Result<Option<(u16, usize, usize)>, ClientError> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&self.unread);
        match parsed.map_err(|error| self.protocol(error.to_string()))? {
            httparse::Status::Partial => Ok(None),
            httparse::Status::Complete(start) => {
                let length = response
                    .headers
                    .iter()
                    .find(|field| field.name.eq_ignore_ascii_case("content-length"))
                    .map_or(Some(0), |field| std::str::from_utf8(field.value).ok()?.parse().ok())
                    .ok_or_else(|| self.protocol("Content-Length is no number".to_owned()))?;
                Ok(Some((response.code.unwrap_or_default(), start, length)))
            }
        }
    }

    fn fill(&mut self) -> Result<(), ClientError> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(self.io(io::Error::other("the VMM closed the connection"))),
            Ok(length) => {
                self.unread.extend_from_slice(&piece[..length]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.io(error)),
        }
    }

    fn io(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout(path),
            _ => ClientError::Io { path, source },
        }
    }

    fn protocol(&self, problem: String) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), problem }
    }
}

fn connect(path: &Path) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(UnixStream::from(socket))
}
