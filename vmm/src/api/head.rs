//! The head of a request: what it asks for and where it ends (RFC 9112).
use super::MAX_HEAD;
use super::response::{After, Response, Status};

/// The most header fields of a request; beyond, 431.
const MAX_FIELDS: usize = 64;

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// So many bytes; 0 when there is none.
    Known(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What stands before the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub method: String,
    /// Without scheme, host and query.
    pub path: String,
    pub body: BodyLength,
    pub after: After,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Parses a head at the start of `bytes`: none yet, or the head and its length.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Response> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return Ok(None),
        Ok(_) => {
            let message = format!("the request head is longer than {MAX_HEAD} bytes");
            return Err(Response::message(Status::HeaderFieldsTooLarge, &message));
        }
        Err(httparse::Error::TooManyHeaders) => {
            let message = format!("the request has more than {MAX_FIELDS} header fields");
            return Err(Response::message(Status::HeaderFieldsTooLarge, &message));
        }
        Err(httparse::Error::Version) => {
            let message = "only HTTP/1.1 and HTTP/1.0 are spoken here";
            return Err(Response::message(Status::VersionNotSupported, message));
        }
        Err(error) => {
            return Err(bad(&format!("malformed HTTP request: {error}")));
        }
    };
    let persistent = request.version == Some(1);
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: path_of(request.path.unwrap_or_default()).to_owned(),
        body: BodyLength::Known(0),
        after: if persistent { After::KeepAlive } else { After::Close },
        expects_continue: false,
    };
    let mut content_length = None;
    for field in request.headers.iter() {
        apply(&mut head, &mut content_length, field.name, field.value)?;
    }
    match (head.body, content_length) {
        // RFC 9112, section 6.1: the two together are how requests are smuggled.
        (BodyLength::Chunked, Some(_)) => {
            return Err(bad("both Content-Length and Transfer-Encoding are given"));
        }
        (BodyLength::Known(_), Some(length)) => head.body = BodyLength::Known(length),
        (_, None) => {}
    }
    Ok(Some((head, length)))
}

fn apply(
    head: &mut Head,
    content_length: &mut Option<usize>,
    name: &str,
    value: &[u8],
) -> Result<(), Response> {
    let value = std::str::from_utf8(value).unwrap_or_default().trim();
    if name.eq_ignore_ascii_case("content-length") {
        let length = Some(value)
            .filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|value| value.parse().ok())
            .filter(|length| content_length.is_none_or(|other| other == *length))
            .ok_or_else(|| bad(&format!("Content-Length {value:?} is not valid")))?;
        *content_length = Some(length);
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        if !value.eq_ignore_ascii_case("chunked") {
            let message = format!("Transfer-Encoding {value:?} is not supported, only chunked");
            return Err(Response::message(Status::NotImplemented, &message));
        }
        head.body = BodyLength::Chunked;
    } else if name.eq_ignore_ascii_case("connection") {
        for option in value.split(',').map(str::trim) {
            if option.eq_ignore_ascii_case("close") {
                head.after = After::Close;
            } else if option.eq_ignore_ascii_case("keep-alive") {
                head.after = After::KeepAlive;
            }
        }
    } else if name.eq_ignore_ascii_case("expect") {
        if !value.eq_ignore_ascii_case("100-continue") {
            let message = format!("Expect {value:?} cannot be met");
            return Err(Response::message(Status::ExpectationFailed, &message));
        }
        head.expects_continue = true;
    }
    Ok(())
}

/// The path in a request target: `http://host/path?query` and `/path?query` are `/path`.
fn path_of(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => target,
    }
}

fn bad(message: &str) -> Response {
    Response::message(Status::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).expect("valid").expect("complete").0
    }

    fn status(text: &str) -> Status {
        parse(text.as_bytes()).expect_err(text).status
    }

    #[test]
    fn what_a_head_says() {
        let plain = head("PUT /api/v1/vm.pause HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((plain.method.as_str(), plain.path.as_str()), ("PUT", "/api/v1/vm.pause"));
        assert_eq!((plain.body, plain.after), (BodyLength::Known(0), After::KeepAlive));
        assert!(!plain.expects_continue);
        assert_eq!(head("GET http://h/a?b HTTP/1.1\r\n\r\n").path, "/a");
        assert_eq!(head("GET http://h HTTP/1.1\r\n\r\n").path, "/");
        let body = head("PUT / HTTP/1.1\r\ncontent-LENGTH: 7\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(body.body, BodyLength::Known(7));
        assert!(body.expects_continue);
        assert_eq!(head("GET / HTTP/1.0\r\n\r\n").after, After::Close);
        let kept = head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(kept.after, After::KeepAlive);
        assert_eq!(head("GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n").after, After::Close);
        let chunked = head("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(chunked.body, BodyLength::Chunked);
    }

    #[test]
    fn what_is_refused() {
        for (text, expected) in [
            ("GET / HTTP/2.0\r\n\r\n", Status::VersionNotSupported),
            ("\u{1}\u{2}\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", Status::BadRequest),
            (
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Status::BadRequest,
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Status::BadRequest,
            ),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", Status::NotImplemented),
            ("GET / HTTP/1.1\r\nExpect: miracle\r\n\r\n", Status::ExpectationFailed),
        ] {
            assert_eq!(status(text), expected, "{text}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD));
        assert_eq!(status(&long), Status::HeaderFieldsTooLarge);
        assert_eq!(status(&long[..=MAX_HEAD]), Status::HeaderFieldsTooLarge);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(status(&many), Status::HeaderFieldsTooLarge);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "(GET|PUT) [\\PC]{0,20} HTTP/1.[01]\r\n[\\PC\r\n:]{0,80}") {
            let _ = (parse(&bytes), parse(text.as_bytes()));
        }

        #[test]
        fn a_head_in_parts_is_the_same_head(cut in 0_usize..60) {
            let text = b"PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 2\r\nHost: x\r\n\r\n{}";
            prop_assert_eq!(parse(&text[..cut]).expect("no error"), None);
            prop_assert!(parse(text).expect("valid").is_some());
        }
    }
}
