//! Frames: their bytes, and what is in them.

use super::{Compression, MAX_PAGES, Message, WireError};
use crate::memory::PAGE_SIZE;

/// The longest payload: as many pages as a frame may have, and what is said of them.
#[expect(clippy::cast_possible_truncation, reason = "a million fits anywhere")]
pub const MAX_PAYLOAD: usize = MAX_PAGES as usize * PAGE_SIZE + 4096;
/// The length of a header.
pub(super) const HEADER: usize = 12;
const MAGIC: [u8; 2] = *b"SM";

const MESSAGE: u8 = 1;
const DATA: u8 = 2;
const ZEROS: u8 = 3;
const MARK: u8 = 4;
const STATE: u8 = 5;

/// Pages that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// The round that they belong to.
    pub round: u32,
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// The end of a connection's part of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub round: u32,
    /// Whether no other follows.
    pub is_last: bool,
}

/// A frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'b> {
    /// A message.
    Message(Message),
    /// Pages with their contents, as they were sent.
    Data(Pages, Compression, &'b [u8]),
    /// Pages of zeros.
    Zeros(Pages),
    /// The end of a connection's part of a round.
    Mark(Mark),
    /// The next bytes of the state.
    State(&'b [u8]),
}

impl<'b> Frame<'b> {
    /// What it is called in errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Message(message) => message.name(),
            Self::Data(..) => "pages",
            Self::Zeros(_) => "pages of zeros",
            Self::Mark(_) => "Mark",
            Self::State(_) => "a part of the state",
        }
    }

    /// Appends its bytes.
    ///
    /// # Errors
    /// It is longer than may be.
    pub fn encode(&self, to: &mut Vec<u8>) -> Result<(), WireError> {
        let start = to.len();
        let (kind, encoding) = match self {
            Self::Message(_) => (MESSAGE, 0),
            Self::Data(_, compression, _) => (DATA, compression.code()),
            Self::Zeros(_) => (ZEROS, 0),
            Self::Mark(_) => (MARK, 0),
            Self::State(_) => (STATE, 0),
        };
        to.extend(MAGIC);
        to.extend([kind, encoding]);
        to.extend([0; 8]);
        match self {
            Self::Message(message) => {
                let bytes = postcard::to_stdvec(message);
                let what = |error: postcard::Error| format!("what cannot be encoded: {error}");
                to.extend(bytes.map_err(|error| WireError::Malformed { what: what(error) })?);
            }
            Self::Data(pages, _, body) => {
                pages.encode(to);
                to.extend(*body);
            }
            Self::Zeros(pages) => pages.encode(to),
            Self::Mark(mark) => {
                to.extend(mark.round.to_le_bytes());
                to.push(u8::from(mark.is_last));
            }
            Self::State(bytes) => to.extend(*bytes),
        }
        let bytes = to.len() - start - HEADER;
        let Some(len) = u32::try_from(bytes).ok().filter(|_| bytes <= MAX_PAYLOAD) else {
            to.truncate(start);
            return Err(WireError::TooLong { bytes: bytes as u64 });
        };
        to[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        let crc = crc(&to[start..start + 8], &to[start + HEADER..]);
        to[start + 8..start + HEADER].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    /// Reads the payload behind a header.
    pub(super) fn decode(header: &[u8; HEADER], payload: &'b [u8]) -> Result<Self, WireError> {
        let [_, _, kind, encoding, _, _, _, _, sum @ ..] = *header;
        if crc(&header[..8], payload) != u32::from_le_bytes(sum) {
            return Err(WireError::Checksum);
        }
        let malformed = |what: &str| WireError::Malformed { what: what.to_owned() };
        if kind != DATA && encoding != 0 {
            return Err(malformed("a frame with an encoding that it cannot have"));
        }
        match kind {
            MESSAGE => match postcard::take_from_bytes(payload) {
                Ok((message, [])) => Ok(Self::Message(message)),
                _ => Err(malformed("a message that cannot be decoded")),
            },
            DATA => {
                let (pages, body) = Pages::decode(payload)?;
                let compression = Compression::from_code(encoding);
                let compression = compression.ok_or_else(|| malformed("an unknown compression"))?;
                if pages.count > MAX_PAGES {
                    return Err(malformed("too many pages in a frame"));
                }
                Ok(Self::Data(pages, compression, body))
            }
            ZEROS => match Pages::decode(payload)? {
                (pages, []) => Ok(Self::Zeros(pages)),
                _ => Err(malformed("zeros with contents")),
            },
            MARK => match *payload {
                [a, b, c, d, is_last @ (0 | 1)] => {
                    let round = u32::from_le_bytes([a, b, c, d]);
                    Ok(Self::Mark(Mark { round, is_last: is_last == 1 }))
                }
                _ => Err(malformed("a mark that is none")),
            },
            STATE => Ok(Self::State(payload)),
            _ => Err(malformed("a frame of an unknown kind")),
        }
    }
}

/// The length of the payload that a header announces.
pub(super) fn payload_len(header: &[u8; HEADER]) -> Result<usize, WireError> {
    let [m0, m1, _, _, l0, l1, l2, l3, ..] = *header;
    if let Some(stranger) = stranger(header) {
        return Err(stranger);
    }
    if [m0, m1] != MAGIC {
        return Err(WireError::NotAFrame { what: "its bytes are no frame" });
    }
    let bytes = u32::from_le_bytes([l0, l1, l2, l3]);
    let len = usize::try_from(bytes).ok().filter(|len| *len <= MAX_PAYLOAD);
    len.ok_or(WireError::TooLong { bytes: u64::from(bytes) })
}

/// What a peer speaks instead, if that is known: its bytes may be fewer than a header's.
pub(super) fn stranger(header: &[u8; HEADER]) -> Option<WireError> {
    // Records of TLS (RFC 8446, 5.1): the first of a handshake, and an alert for who begins none.
    let what = match header {
        [0x16, 0x03, ..] => {
            "it speaks TLS and this end does not; both ends need a TLS directory, or neither"
        }
        [0x15, 0x03, ..] => "it demands TLS; give this end a TLS directory, too",
        _ => return None,
    };
    Some(WireError::NotAFrame { what })
}

fn crc(header: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), payload)
}

impl Pages {
    fn encode(self, to: &mut Vec<u8>) {
        to.extend(self.round.to_le_bytes());
        to.extend(self.first.to_le_bytes());
        to.extend(self.count.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let fields = || {
            let (round, rest) = bytes.split_first_chunk()?;
            let (first, rest) = rest.split_first_chunk()?;
            let (count, rest) = rest.split_first_chunk()?;
            let round = u32::from_le_bytes(*round);
            let (first, count) = (u64::from_le_bytes(*first), u64::from_le_bytes(*count));
            Some((Self { round, first, count }, rest))
        };
        fields().ok_or_else(|| WireError::Malformed { what: "pages without numbers".to_owned() })
    }
}
