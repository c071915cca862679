//! Pages, made smaller.

use std::io;

use zstd::zstd_safe::{CCtx, DCtx};

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
}

/// Makes pages smaller. What an encoder works with is made when it is wanted first, and kept.
#[derive(Default)]
pub(super) struct Packer {
    room: Vec<u8>,
    zstd: Option<CCtx<'static>>,
}

impl Packer {
    /// The same pages, smaller; what does not get smaller, or finds no memory to be made so in, is sent as it is.
    pub(super) fn pack<'p>(
        &'p mut self,
        compression: Compression,
        pages: &'p [u8],
    ) -> (Compression, &'p [u8]) {
        // LZ4 wants room for the worst case.
        self.room.resize(lz4_flex::block::get_maximum_output_size(pages.len()), 0);
        let room = &mut self.room[..];
        let len = match compression {
            Compression::None => None,
            Compression::Lz4 => lz4_flex::block::compress_into(pages, room).ok(),
            Compression::Zstd => {
                self.zstd = self.zstd.take().or_else(CCtx::try_create);
                let packed = self.zstd.as_mut().map(|zstd| zstd.compress(room, pages, ZSTD_LEVEL));
                packed.and_then(Result::ok)
            }
        };
        match len.filter(|len| *len < pages.len()).and_then(|len| self.room.get(..len)) {
            Some(smaller) => (compression, smaller),
            None => (Compression::None, pages),
        }
    }
}

/// Makes pages of what was sent. What a decoder works with is made when it is wanted first, and kept.
#[derive(Default)]
pub(crate) struct Unpacker {
    room: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

impl Unpacker {
    /// The pages: exactly so many bytes.
    pub(super) fn unpack(
        &mut self,
        compression: Compression,
        sent: &[u8],
        bytes: usize,
    ) -> Result<&[u8], WireError> {
        self.room.resize(bytes, 0);
        let room = &mut self.room[..];
        let len = match compression {
            Compression::None => {
                let fits = sent.len() == room.len();
                fits.then(|| room.copy_from_slice(sent)).map(|()| sent.len())
            }
            Compression::Lz4 => lz4_flex::block::decompress_into(sent, room).ok(),
            Compression::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = DCtx::try_create();
                }
                let zstd = self.zstd.as_mut();
                // Not the peer's fault.
                let zstd = zstd.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
                zstd.decompress(room, sent).ok()
            }
        };
        if len != Some(bytes) {
            return Err(WireError::Malformed { what: "pages that do not unpack".to_owned() });
        }
        Ok(&self.room)
    }
}
