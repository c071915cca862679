//! Bare requests to a VMM's socket, a connection each.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// After this long without an answer something hangs. Whoever asks tells what is known of it then.
const HANG: Duration = Duration::from_secs(30);

/// The answer's document (null: none), or what went wrong. An error that says [`GONE`] is none of the VMM's.
pub fn request(
    socket: &Path,
    method: &str,
    action: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let gone = |error: std::io::Error| format!("{GONE}: {action}: {error}");
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = UnixStream::connect(socket).map_err(gone)?;
    stream.set_read_timeout(Some(HANG)).map_err(gone)?;
    let head = format!("{method} /api/v1/{action} HTTP/1.1\r\nHost: x\r\nConnection: close");
    let length = body.len();
    let whole = format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(whole.as_bytes()).map_err(gone)?;
    let mut answer = String::new();
    if let Err(error) = stream.read_to_string(&mut answer) {
        let is_late = error.kind() == std::io::ErrorKind::WouldBlock;
        return Err(if is_late { format!("STALL: {action} is not answered") } else { gone(error) });
    }
    let Some((head, document)) = answer.split_once("\r\n\r\n") else {
        return Err(format!("{GONE}: {action}: {answer:?}"));
    };
    let is_well = head.starts_with("HTTP/1.1 20");
    let value = serde_json::from_str(document).unwrap_or(Value::Null);
    if is_well { Ok(value) } else { Err(document.to_owned()) }
}

/// The VMM has ended, or is about to.
pub const GONE: &str = "no answer";
