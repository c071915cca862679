//! The two tables from which everything else is found, and how tables are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::entry::{self, Layout};
use super::problem::{Flawed, Problem, Use};
use crate::virtio::block::image::header::{Header, Span};

/// What they refer to.
pub(super) struct Tables {
    /// Where L2 tables are, in the order of the file, each once.
    pub l2: Vec<u64>,
    /// Where refcount blocks are, in the order of what they count; 0: none.
    pub blocks: Vec<u64>,
}

impl Tables {
    /// Reads them. Both lie in the file and have bounds: the header was checked.
    pub fn read(file: &File, header: &Header, layout: Layout) -> Result<Self, Problem> {
        let mut l2 = read(file, header.l1, Use::L1Table, |entry| layout.l2_table(entry))?;
        let blocks = read(file, header.refcounts, Use::RefcountTable, |entry| layout.block(entry))?;
        l2.retain(|table| *table != 0);
        l2.sort_unstable();
        match l2.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Problem::Overlap { used: Use::L2Table, offset: pair[0] }),
            None => Ok(Self { l2, blocks }),
        }
    }
}

/// Reads a table and decodes its entries; 0 for those that refer to nothing.
fn read(
    file: &File,
    span: Span,
    within: Use,
    decode: impl Fn(u64) -> Result<Option<u64>, Flawed>,
) -> Result<Vec<u64>, Problem> {
    // At most the bounds of the header's check.
    let mut bytes = vec![0; usize::try_from(span.bytes).map_err(io::Error::other)?];
    read_padded(file, &mut bytes, span.offset)?;
    let decoded = entry::numbers(&bytes).map(|entry| Ok(decode(entry)?.unwrap_or(0)));
    decoded.collect::<Result<_, Flawed>>().map_err(|flawed: Flawed| flawed.of(within, span.offset))
}

/// Reads bytes of the file; what is behind its end reads as zeros.
pub(super) fn read_padded(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes[done..].fill(0);
    Ok(())
}
