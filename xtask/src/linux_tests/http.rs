//! Bare requests on one kept connection to the API's socket: quicker than a process each, for storms.
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// After how long a missing answer is reported.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection.
pub struct Api {
    stream: BufReader<UnixStream>,
}

impl Api {
    /// Connects.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// `PUT /api/v1/ACTION`, which must succeed.
    pub fn put(&mut self, action: &str) -> Result<()> {
        self.request("PUT", action).map(drop)
    }

    /// `GET /api/v1/ACTION`, which must succeed; its body.
    pub fn get(&mut self, action: &str) -> Result<String> {
        self.request("GET", action)
    }

    fn request(&mut self, method: &str, action: &str) -> Result<String> {
        let request = format!(
            "{method} /api/v1/{action} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        );
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .with_context(|| format!("cannot send {action}"))?;
        let (status, body) =
            read_answer(&mut self.stream).with_context(|| format!("no answer to {action}"))?;
        if !(200..300).contains(&status) {
            bail!("{action} was answered with {status}: {body}");
        }
        Ok(body)
    }
}

/// The status and the body of one answer.
fn read_answer(from: &mut impl BufRead) -> Result<(u16, String)> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no HTTP/1.1 status line: {line:?}"))?;
    let mut length = 0;
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            bail!("the connection was closed within the header");
        }
        let header = line.trim();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length =
                value.trim().parse().with_context(|| format!("bad Content-Length: {value}"))?;
        }
    }
    let mut body = String::new();
    from.take(length).read_to_string(&mut body)?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::read_answer;

    #[test]
    fn answers_follow_one_another() {
        let mut bytes: &[u8] =
            b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\nwhy";
        assert_eq!(read_answer(&mut bytes).unwrap(), (204, String::new()));
        assert_eq!(read_answer(&mut bytes).unwrap(), (500, "why".to_owned()));
        assert!(read_answer(&mut bytes).is_err());
    }
}
