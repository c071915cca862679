//! Bodies in chunks (RFC 9112, section 7.1).
//!
//! ```text
//!   Size ──"5"──▶ Data(5) ──5 bytes──▶ DataEnd ──CRLF──▶ Size
//!     └───"0"──▶ Trailers ──empty line──▶ the body
//! ```
//!
//! Invariants:
//! - What was decoded is not kept on the wire's side, so however a client cuts its body into
//!   chunks, the memory it takes is that of the body.
//! - The answer depends on the bytes, not on the pieces in which they came.
use super::MAX_BODY;
use super::response::{Response, Status};

/// The longest line with the size of a chunk, and the longest trailer section, in bytes: more is
/// an attempt to fill the memory.
const MAX_LINE: usize = 1024;

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The line with the size of a chunk.
    #[default]
    Size,
    /// So many bytes of a chunk.
    Data(usize),
    /// The end of line after a chunk.
    DataEnd,
    /// Trailer fields, which are skipped, and the empty line after them.
    Trailers,
}

/// A body as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    state: State,
    body: Vec<u8>,
}

impl Decoder {
    /// Takes from the front of `unread` what belongs to the body, and returns the body when that
    /// was its end. What follows the body stays.
    pub fn feed(&mut self, unread: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Response> {
        let mut at = 0;
        let end = self.advance(unread, &mut at);
        unread.drain(..at);
        Ok(end?.then(|| std::mem::take(&mut self.body)))
    }

    /// Goes on from `at` as far as `bytes` reach, and tells whether the body has ended.
    fn advance(&mut self, bytes: &[u8], at: &mut usize) -> Result<bool, Response> {
        loop {
            let rest = bytes.get(*at..).unwrap_or_default();
            let (used, next) = match self.state {
                State::Size => match httparse::parse_chunk_size(rest) {
                    Ok(httparse::Status::Complete((used, size))) if used <= MAX_LINE => {
                        (used, self.chunk(size)?)
                    }
                    Ok(httparse::Status::Partial) if rest.len() < MAX_LINE => return Ok(false),
                    _ => return Err(bad()),
                },
                State::Data(left) => {
                    let used = left.min(rest.len());
                    self.body.extend_from_slice(&rest[..used]);
                    let left = left - used;
                    if left > 0 {
                        self.state = State::Data(left);
                        *at += used;
                        return Ok(false);
                    }
                    (used, State::DataEnd)
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => (2, State::Size),
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(bad()),
                },
                State::Trailers => {
                    let Some(used) = trailers(rest)? else { return Ok(false) };
                    *at += used;
                    return Ok(true);
                }
            };
            *at += used;
            self.state = next;
        }
    }

    /// What follows the line that announces a chunk of `size` bytes.
    fn chunk(&self, size: u64) -> Result<State, Response> {
        match usize::try_from(size).unwrap_or(usize::MAX) {
            0 => Ok(State::Trailers),
            size if size > MAX_BODY - self.body.len() => Err(too_large()),
            size => Ok(State::Data(size)),
        }
    }
}

/// The length of the trailer section with its empty line, once that is there.
fn trailers(bytes: &[u8]) -> Result<Option<usize>, Response> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) if length <= MAX_LINE => Ok(Some(length)),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_LINE => Ok(None),
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

    /// A body and what is left on the wire after it.
    type Decoded = (Vec<u8>, Vec<u8>);

    /// Decodes a wire that comes in pieces of `piece` bytes.
    fn decode(wire: &[u8], piece: usize) -> Result<Option<Decoded>, Status> {
        let mut decoder = Decoder::default();
        let mut unread = Vec::new();
        let mut pieces = wire.chunks(piece);
        while let Some(piece) = pieces.next() {
            unread.extend_from_slice(piece);
            if let Some(body) = decoder.feed(&mut unread).map_err(|refused| refused.status)? {
                unread.extend(pieces.flatten());
                return Ok(Some((body, unread)));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_make_a_body() {
        let wire = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\nGET";
        let expected = Ok(Some((b"abc0123456789".to_vec(), b"GET".to_vec())));
        for piece in 1..=wire.len() {
            assert_eq!(decode(wire, piece), expected, "{piece}");
        }
        for cut in 0..wire.len() - 3 {
            assert_eq!(decode(&wire[..cut], cut.max(1)), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_refused() {
        let long_extension = [b"1;".as_slice(), &[b'x'; 2000], b"\r\nx\r\n0\r\n\r\n"].concat();
        let long_trailers = [b"0\r\nT: ".as_slice(), &[b'x'; 2000], b"\r\n\r\n"].concat();
        for (wire, expected) in [
            (b"x\r\n".as_slice(), Status::BadRequest),
            (b"1\r\nabc", Status::BadRequest),
            (b"fffffffffffffff\r\n", Status::ContentTooLarge),
            (b"100001\r\n", Status::ContentTooLarge),
            (&long_extension, Status::BadRequest),
            (&long_trailers, Status::BadRequest),
        ] {
            for piece in [1, 7, wire.len()] {
                assert_eq!(decode(wire, piece), Err(expected), "in pieces of {piece}");
            }
        }
    }

    /// A client that wraps each byte in a long chunk once made the server keep all of that.
    #[test]
    fn what_was_decoded_is_not_kept() {
        let chunk = [b"1;".as_slice(), &[b'x'; 900], b"\r\ny\r\n"].concat();
        let mut decoder = Decoder::default();
        let mut unread = Vec::new();
        for _ in 0..1000 {
            unread.extend_from_slice(&chunk);
            assert!(decoder.feed(&mut unread).expect("valid").is_none());
            assert!(unread.is_empty(), "{} bytes are kept", unread.len());
        }
        assert_eq!(decoder.body.len(), 1000);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            bytes: Vec<u8>,
            text in "[0-9a-f]{0,17}\r\n[a-z\r\n0-9]{0,40}",
            piece in 1_usize..9,
        ) {
            for wire in [bytes.as_slice(), text.as_bytes()] {
                prop_assert_eq!(decode(wire, piece), decode(wire, wire.len().max(1)));
            }
        }
    }
}
