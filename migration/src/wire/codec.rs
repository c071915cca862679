//! Pages, made smaller.

use super::WireError;

/// How pages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4 blocks: for links slower than some GB/s.
    Lz4,
    /// Zstandard, level 1: for slow links.
    Zstd,
}

const ZSTD_LEVEL: i32 = 1;

impl Compression {
    /// Its number in a frame's header.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::None, Self::Lz4, Self::Zstd].into_iter().find(|one| one.code() == code)
    }

    /// Makes pages smaller; what that does not make smaller is sent as it is.
    pub(super) fn encode<'p>(self, pages: &'p [u8], room: &'p mut Vec<u8>) -> (Self, &'p [u8]) {
        // LZ4 wants room for the worst case.
        room.resize(lz4_flex::block::get_maximum_output_size(pages.len()), 0);
        let len = match self {
            Self::None => None,
            Self::Lz4 => lz4_flex::block::compress_into(pages, room).ok(),
            Self::Zstd => zstd::bulk::compress_to_buffer(pages, room, ZSTD_LEVEL).ok(),
        };
        match len.filter(|len| *len < pages.len()).and_then(|len| room.get(..len)) {
            Some(smaller) => (self, smaller),
            None => (Self::None, pages),
        }
    }

    /// Makes pages of what was sent: exactly as many bytes as `room` has.
    pub(super) fn decode(self, sent: &[u8], room: &mut [u8]) -> Result<(), WireError> {
        let len = match self {
            Self::None => {
                let fits = sent.len() == room.len();
                fits.then(|| room.copy_from_slice(sent)).map(|()| sent.len())
            }
            Self::Lz4 => lz4_flex::block::decompress_into(sent, room).ok(),
            Self::Zstd => zstd::bulk::decompress_to_buffer(sent, room).ok(),
        };
        if len != Some(room.len()) {
            return Err(WireError::Malformed { what: "pages that do not unpack".to_owned() });
        }
        Ok(())
    }
}
