//! HTTP by hand: exact bytes out, the answer taken apart.
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A connection on which requests follow each other.
pub struct Client {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        Self { stream: UnixStream::connect(socket).expect("connect"), unread: Vec::new() }
    }

    /// A server that lets this long pass without an answer hangs.
    pub fn set_timeout(&self, limit: std::time::Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("set");
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send");
    }

    /// A request with the fields that it needs.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.send(format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        self.answer()
    }

    /// The next answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer, not the end of the connection")
    }

    /// The next answer, or none if the server closed.
    pub fn try_answer(&mut self) -> Option<Answer> {
        let head_length = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                assert!(self.unread.is_empty(), "half an answer: {:?}", self.unread);
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..head_length).collect();
        let head = String::from_utf8(head).expect("text");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("status line");
        let status = status_line.split(' ').nth(1).expect("status").parse().expect("number");
        let fields: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("field"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, fields, body: String::new() };
        let length = answer.field("content-length").map_or(0, |text| text.parse().expect("number"));
        while self.unread.len() < length {
            assert!(self.fill(), "the body is cut off");
        }
        answer.body = String::from_utf8(self.unread.drain(..length).collect()).expect("text");
        Some(answer)
    }

    /// Whether the server has closed the connection and sent nothing more.
    pub fn closed(mut self) -> bool {
        self.try_answer().is_none()
    }

    fn fill(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                self.unread.extend_from_slice(&piece[..length]);
                true
            }
            // A read with a time-out may come back with nothing (socket(7), signal(7)); what is to come is still to come.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => true,
            Err(error) => panic!("cannot read: {error}"),
        }
    }
}
