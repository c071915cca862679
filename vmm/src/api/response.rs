//! Answers, and how they look on the wire.
use serde::Serialize;

use crate::control::Wake;

/// The status codes of this API, those of Cloud Hypervisor's OpenAPI description and those of
/// HTTP itself (RFC 9110, section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    NoContent,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    ContentTooLarge,
    ExpectationFailed,
    TooManyRequests,
    HeaderFieldsTooLarge,
    InternalServerError,
    NotImplemented,
    VersionNotSupported,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NoContent => "204 No Content",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Conflict => "409 Conflict",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::TooManyRequests => "429 Too Many Requests",
            Self::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Self::InternalServerError => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Whether the connection stays open after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    KeepAlive,
    Close,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Response {
    pub status: Status,
    /// The method that would be right, for 405.
    pub allow: Option<&'static str>,
    pub body: Vec<u8>,
    /// What is to be done once the client has been told.
    pub wake: Wake,
}

impl Response {
    /// It was done and there is nothing to tell.
    pub const fn done() -> Self {
        Self { status: Status::NoContent, allow: None, body: Vec::new(), wake: Wake::none() }
    }

    /// A JSON document.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status: Status::Ok, allow: None, body, wake: Wake::none() },
            Err(error) => Self::error(Status::InternalServerError, &error),
        }
    }

    /// An error and its causes, as Cloud Hypervisor tells them: a JSON array of strings, the
    /// outermost first.
    pub fn error(status: Status, error: &dyn std::error::Error) -> Self {
        let chain: Vec<String> = std::iter::successors(Some(error), |error| error.source())
            .map(ToString::to_string)
            .collect();
        Self::messages(status, &chain)
    }

    /// The same for an error that is only text.
    pub fn message(status: Status, message: &str) -> Self {
        Self::messages(status, &[message])
    }

    fn messages(status: Status, chain: &[impl Serialize]) -> Self {
        // An array of strings cannot fail to be written.
        let body = serde_json::to_vec(chain).unwrap_or_default();
        Self { status, allow: None, body, wake: Wake::none() }
    }

    /// Head and body in one piece, for one `write`.
    pub fn encode(&self, after: After) -> Vec<u8> {
        use std::io::Write;
        let mut wire = Vec::with_capacity(192 + self.body.len());
        let connection = match after {
            After::KeepAlive => "keep-alive",
            After::Close => "close",
        };
        // Writing to a Vec cannot fail.
        let _ = write!(
            wire,
            "HTTP/1.1 {}\r\nServer: Stillpoint API\r\nConnection: {connection}\r\n",
            self.status.line()
        );
        if let Some(method) = self.allow {
            let _ = write!(wire, "Allow: {method}\r\n");
        }
        // RFC 9110, section 8.6: 204 has no Content-Length.
        if self.status != Status::NoContent {
            let _ = write!(
                wire,
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                self.body.len()
            );
        }
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&self.body);
        wire
    }
}
