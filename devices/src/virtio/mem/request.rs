//! Requests and answers as they are in memory (virtio 1.2, 5.15.6).

use std::ops::Range;

use super::BLOCK_SIZE;
use super::blocks::State;

/// Bytes of a request.
pub(super) const REQUEST_SIZE: usize = 24;
/// Bytes of an answer.
pub(super) const RESPONSE_SIZE: usize = 10;

const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;

/// What a driver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To plug blocks.
    Plug,
    /// To unplug blocks.
    Unplug,
    /// To unplug all blocks.
    UnplugAll,
    /// What blocks are.
    State,
}

/// A request, and the blocks that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) blocks: Range<u64>,
}

impl Request {
    /// Reads one to a device with `count` blocks from address `start` on; `None` if it makes no sense there.
    pub(super) fn read(bytes: [u8; REQUEST_SIZE], start: u64, count: u64) -> Option<Self> {
        let (words, _) = bytes.as_chunks();
        let [kind, gpa, blocks] = [words[0], words[1], words[2]].map(u64::from_le_bytes);
        // The upper parts of the first and the last word are padding.
        let asked = match low(kind) {
            PLUG => Asked::Plug,
            UNPLUG => Asked::Unplug,
            UNPLUG_ALL => return Some(Self { asked: Asked::UnplugAll, blocks: 0..count }),
            STATE => Asked::State,
            _ => return None,
        };
        let offset = gpa.checked_sub(start)?;
        let first = offset / BLOCK_SIZE;
        // Cannot overflow: the quotient has 43 bits, the number 16.
        let end = first + u64::from(low(blocks));
        let makes_sense = offset.is_multiple_of(BLOCK_SIZE) && first < end && end <= count;
        makes_sense.then_some(Self { asked, blocks: first..end })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low part is what is wanted")]
const fn low(word: u64) -> u16 {
    word as u16
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// It is done.
    Ack,
    /// The blocks are so.
    State(State),
    /// It is not for now: the host asks for less.
    Nack,
    /// It cannot be done now; later perhaps.
    Busy,
    /// It makes no sense.
    Error,
}

impl Response {
    /// As it goes to memory.
    pub(super) fn bytes(self) -> [u8; RESPONSE_SIZE] {
        let (kind, state): (u16, u16) = match self {
            Self::Ack => (0, 0),
            Self::State(state) => (0, state as u16),
            Self::Nack => (1, 0),
            Self::Busy => (2, 0),
            Self::Error => (3, 0),
        };
        let mut bytes = [0; RESPONSE_SIZE];
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        bytes[8..].copy_from_slice(&state.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 4 << 30;
    const COUNT: u64 = 256;

    fn read(kind: u16, gpa: u64, blocks: u16) -> Option<Request> {
        let mut bytes = [0xEE; REQUEST_SIZE];
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&gpa.to_le_bytes());
        bytes[16..18].copy_from_slice(&blocks.to_le_bytes());
        Request::read(bytes, START, COUNT)
    }

    #[test]
    fn requests_are_about_blocks() {
        let request = |asked, blocks| Some(Request { asked, blocks });
        assert_eq!(read(PLUG, START, 1), request(Asked::Plug, 0..1));
        assert_eq!(read(UNPLUG, START + 3 * BLOCK_SIZE, 2), request(Asked::Unplug, 3..5));
        assert_eq!(read(STATE, START + 255 * BLOCK_SIZE, 1), request(Asked::State, 255..256));
        assert_eq!(read(UNPLUG_ALL, 1, 0), request(Asked::UnplugAll, 0..256), "the rest is unused");
    }

    #[test]
    fn what_makes_no_sense_is_none() {
        assert_eq!(read(PLUG, START, 0), None, "no block");
        assert_eq!(read(PLUG, START + 4096, 1), None, "not at a block's start");
        assert_eq!(read(PLUG, START - BLOCK_SIZE, 1), None, "before the region");
        assert_eq!(read(PLUG, START, 257), None, "beyond the region");
        assert_eq!(read(PLUG, START + 256 * BLOCK_SIZE, 1), None, "behind the region");
        assert_eq!(read(PLUG, u64::MAX / BLOCK_SIZE * BLOCK_SIZE, u16::MAX), None);
        assert_eq!(read(4, START, 1), None, "unknown");
        assert_eq!(read(u16::MAX, START, 1), None, "unknown");
    }

    #[test]
    fn answers_are_ten_bytes() {
        assert_eq!(Response::Ack.bytes(), [0; 10]);
        assert_eq!(Response::State(State::Mixed).bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(Response::Busy.bytes()[0], 2);
    }
}
