//! A client of the host that has not said yet which port it wants: `CONNECT <port>\n`.
//!
//! Nothing behind the end of the line is taken off the socket: that is data for the guest already.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// No line is longer: `CONNECT 4294967295\n`, with room for spaces.
const LINE_LIMIT: usize = 32;

pub(super) struct Greeting {
    pub(super) socket: OwnedFd,
    line: Vec<u8>,
    over: bool,
}

/// What has come of the greeting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeted {
    /// The line has not ended yet.
    NotYet,
    /// It wants to be connected with this port of the guest.
    Wants(u32),
    /// It has gone, or says something else.
    Nonsense,
}

impl Greeting {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, line: Vec::new(), over: false }
    }

    /// Whether there has been nonsense, and nothing else will come.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Takes what has come of the line.
    pub(super) fn read(&mut self) -> Greeted {
        let greeted = self.read_line();
        self.over = greeted == Greeted::Nonsense;
        greeted
    }

    fn read_line(&mut self) -> Greeted {
        // Never empty: a line that is as long as the limit was nonsense before.
        let mut chunk = [0; LINE_LIMIT];
        let chunk = &mut chunk[..LINE_LIMIT - self.line.len()];
        let (len, end) = match recv(&self.socket, &mut *chunk, RecvFlags::PEEK) {
            Err(Errno::AGAIN | Errno::INTR) => return Greeted::NotYet,
            Ok((0, _)) | Err(_) => return Greeted::Nonsense,
            Ok((len, _)) => match chunk[..len].iter().position(|byte| *byte == b'\n') {
                Some(place) => (place + 1, true),
                None => (len, false),
            },
        };
        // It is there: it has been looked at.
        match recv(&self.socket, &mut chunk[..len], RecvFlags::empty()) {
            Ok((taken, _)) if taken == len => self.line.extend_from_slice(&chunk[..len]),
            _ => return Greeted::Nonsense,
        }
        match (end, self.line.len() < LINE_LIMIT) {
            (true, _) => port_of(&self.line).map_or(Greeted::Nonsense, Greeted::Wants),
            (false, true) => Greeted::NotYet,
            (false, false) => Greeted::Nonsense,
        }
    }
}

fn port_of(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let command = words.next()?;
    let port = words.next()?;
    let known = command.eq_ignore_ascii_case("connect") && words.next().is_none();
    // `u32` would allow a sign.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    if known && digits { port.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn which_lines_are_greetings() {
        for (line, port) in [
            ("CONNECT 1\n", Some(1)),
            ("connect 4294967295\n", Some(u32::MAX)),
            ("CONNECT  22 \r\n", Some(22)),
            ("CONNECT 4294967296\n", None),
            ("CONNECT +1\n", None),
            ("CONNECT -1\n", None),
            ("CONNECT\n", None),
            ("CONNECT 1 2\n", None),
            ("LISTEN 1\n", None),
            ("\n", None),
        ] {
            assert_eq!(port_of(line.as_bytes()), port, "{line:?}");
        }
    }

    fn pair() -> (Greeting, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Greeting::new(ours.into()), theirs)
    }

    #[test]
    fn a_line_in_pieces_and_the_data_behind_it() {
        let (mut greeting, mut client) = pair();
        assert_eq!(greeting.read(), Greeted::NotYet);
        for piece in ["CON", "NECT", " 10"] {
            client.write_all(piece.as_bytes()).unwrap();
            assert_eq!(greeting.read(), Greeted::NotYet);
        }
        client.write_all(b"24\ndata\n").unwrap();
        assert_eq!(greeting.read(), Greeted::Wants(1024));
        let mut rest = [0; 5];
        UnixStream::from(greeting.socket).read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"data\n");
    }

    #[test]
    fn a_line_without_end_and_a_client_that_goes() {
        let (mut greeting, mut client) = pair();
        client.write_all(&[b'x'; LINE_LIMIT - 1]).unwrap();
        assert_eq!(greeting.read(), Greeted::NotYet);
        client.write_all(b"yy").unwrap();
        assert_eq!(greeting.read(), Greeted::Nonsense);
        let (mut greeting, client) = pair();
        drop(client);
        assert_eq!(greeting.read(), Greeted::Nonsense);
    }
}
