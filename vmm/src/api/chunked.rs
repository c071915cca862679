//! Bodies in chunks (RFC 9112, section 7.1).
use super::MAX_BODY;
use super::response::{Response, Status};

/// Decodes the body at the start of `bytes`: none yet, or the body and its length on the wire.
/// Trailer fields are skipped.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Response> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(chunk)) => chunk,
            // A size line that does not end is an attempt to fill the memory.
            Ok(httparse::Status::Partial) if rest.len() < 1024 => return Ok(None),
            _ => return Err(bad()),
        };
        at += start;
        if size == 0 {
            return skip_trailers(&bytes[at..]).map(|length| length.map(|end| (body, at + end)));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_BODY - body.len() {
            return Err(too_large());
        }
        let Some(chunk) = bytes.get(at..at + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        at += size;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Err(bad()),
            None => return Ok(None),
        }
    }
}

/// The length of the trailer section with its empty line, once that is there.
fn skip_trailers(bytes: &[u8]) -> Result<Option<usize>, Response> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if bytes.len() < 1024 => Ok(None),
        _ => Err(bad()),
    }
}

fn bad() -> Response {
    Response::message(Status::BadRequest, "malformed chunk in the request body")
}

/// The answer to a body over the limit.
pub(super) fn too_large() -> Response {
    let message = format!("the request body is longer than {MAX_BODY} bytes");
    Response::message(Status::ContentTooLarge, &message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_make_a_body() {
        let wire = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\nGET";
        let (body, length) = decode(wire).expect("valid").expect("complete");
        assert_eq!(body, b"abc0123456789");
        assert_eq!(&wire[length..], b"GET");
        for cut in 0..length {
            assert!(decode(&wire[..cut]).expect("valid so far").is_none(), "{cut}");
        }
    }

    #[test]
    fn what_is_refused() {
        let status = |wire: &[u8]| decode(wire).expect_err("refused").status;
        assert_eq!(status(b"x\r\n"), Status::BadRequest);
        assert_eq!(status(b"1\r\nabc"), Status::BadRequest);
        assert_eq!(status(b"fffffffffffffff\r\n"), Status::ContentTooLarge);
        assert_eq!(status(b"100001\r\n"), Status::ContentTooLarge);
        assert_eq!(status(&[b"1;".as_slice(), &[b'x'; 2000]].concat()), Status::BadRequest);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[0-9a-f]{0,17}\r\n[a-z\r\n0-9]{0,40}") {
            let _ = (decode(&bytes), decode(text.as_bytes()));
        }
    }
}
