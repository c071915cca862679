//! A keep-alive HTTP/1.1 client on a Unix socket that times its requests, and nothing more.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A VMM answers a pause within its own deadline, 30 s; a client that waits longer waits in vain.
const LIMIT: Duration = Duration::from_mins(1);

/// One connection.
pub struct Client {
    stream: UnixStream,
    /// Bytes of the answer so far.
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The bytes of a request without a body.
pub fn request(method: &str, endpoint: &str) -> Vec<u8> {
    format!("{method} /api/v1/{endpoint} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// The same with a JSON body.
pub fn request_with(method: &str, endpoint: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "{method} /api/v1/{endpoint} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Client {
    /// Connects.
    pub fn connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream, received: Vec::with_capacity(64 << 10) })
    }

    /// Sends a request; the time is from the write to the last byte of the answer.
    pub fn timed(&mut self, request: &[u8]) -> Result<(Duration, Reply)> {
        self.received.clear();
        let begun = Instant::now();
        self.stream.write_all(request).context("cannot write to the API socket")?;
        let reply = self.receive()?;
        Ok((begun.elapsed(), reply))
    }

    /// Sends a request that has to succeed.
    pub fn succeed(&mut self, request: &[u8]) -> Result<(Duration, Reply)> {
        let (took, reply) = self.timed(request)?;
        if !(200..300).contains(&reply.status) {
            let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
            bail!(
                "{} was answered with {}: {}",
                String::from_utf8_lossy(line),
                reply.status,
                String::from_utf8_lossy(&reply.body)
            );
        }
        Ok((took, reply))
    }

    fn receive(&mut self) -> Result<Reply> {
        let mut chunk = [0; 16 << 10];
        loop {
            let count = self.stream.read(&mut chunk).context("no answer on the API socket")?;
            if count == 0 {
                bail!("the VMM closed the connection before it had answered");
            }
            self.received.extend_from_slice(&chunk[..count]);
            if let Some(reply) = parse(&self.received)? {
                return Ok(reply);
            }
        }
    }
}

/// The answer, once all of it is there.
fn parse(received: &[u8]) -> Result<Option<Reply>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) =
        head.parse(received).context("the VMM's answer is not HTTP")?
    else {
        return Ok(None);
    };
    let body = match head.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length")) {
        Some(header) => std::str::from_utf8(header.value)
            .ok()
            .and_then(|value| value.trim().parse().ok())
            .context("the answer's Content-Length is no number")?,
        None => 0,
    };
    let status = head.code.context("the answer has no status")?;
    let rest = &received[length..];
    Ok(rest.get(..body).map(|body| Reply { status, body: body.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let wire = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\nhello";
        for cut in 0..wire.len() {
            assert_eq!(parse(&wire[..cut]).unwrap(), None, "{cut}");
        }
        let reply = parse(wire).unwrap().unwrap();
        assert_eq!(reply, Reply { status: 200, body: b"hello".to_vec() });
    }

    #[test]
    fn an_answer_without_a_body_needs_no_length() {
        let reply = parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!(reply, Reply { status: 204, body: Vec::new() });
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").is_err());
    }

    #[test]
    fn a_refusal_shows_request_status_and_message() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client { stream: ours, received: Vec::new() };
        theirs.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nwhy?").unwrap();
        let error = client.succeed(&request("PUT", "vm.pause")).unwrap_err().to_string();
        assert!(error.contains("PUT /api/v1/vm.pause"), "{error}");
        assert!(error.contains("500: why?"), "{error}");
    }
}
