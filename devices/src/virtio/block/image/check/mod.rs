//! Whether a qcow2 image may be written: each cluster that it uses is used once, and its refcount says so.
//!
//! A library that writes an image believes its refcounts: what has none is free. If a table's cluster is free by them, or is a
//! guest's cluster at the same time, then a guest's write becomes a table, and what follows has no bound. So an image
//! is walked before it is opened for writing, and refused if
//! a cluster is used twice (other than by compressed clusters, which share), lies outside of the file, or has fewer
//! references counted than there are. Refcounts that are too high are only leaks. Images that are opened for reading are not walked:
//! nothing is allocated or freed then.
//!
//! ```text
//!   header ─▶ L1 table ─▶ L2 tables ─▶ clusters of data      each is claimed in a window (`claims`)
//!        └──▶ refcount table ─▶ refcount blocks ◀── compared with what was claimed (`refcounts`)
//! ```
//!
//! **Bounds.** Claims are two bytes for each cluster of the file, for at most `claims::WINDOW` clusters at a time: 32 MiB, which are
//! 1 TiB of file in clusters of 64 KiB. A larger file is walked once for each window. L1 and refcount table are held in memory (at most
//! 40 MiB), everything else is read cluster by cluster. How many bytes are read is known after the two tables, and more than
//! [`MAX_WORK`] are refused.
//!
//! Invariant: the walk ends, whatever the image holds: no table is read twice in a window, since two
//! L1 entries for one table are found before the first is read.
//!
//! Source: QEMU's `docs/interop/qcow2.rst`.

mod claims;
mod entry;
mod problem;
mod refcounts;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::File;

use self::claims::{Claims, Window};
use self::entry::{Guest, Layout, Place};
pub(super) use self::problem::Problem;
use self::problem::Use;
use self::tables::{Tables, read_padded};
use super::header::Header;

/// Bytes that are read and compared at most: a file of some 22 TiB in clusters of 64 KiB, or of 180 GiB in clusters of 512 bytes.
const MAX_WORK: u64 = 64 << 30;
/// From so many on the log says what takes so long.
const LONG: u64 = 1 << 30;

/// Walks an image in a file of `len` bytes.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn check(file: &File, len: u64, header: &Header) -> Result<(), Problem> {
    let layout = Layout::new(header.cluster_bits, len);
    if header.snapshots > 0 {
        return Err(Problem::Snapshots { count: header.snapshots });
    }
    let tables = Tables::read(file, header, layout)?;
    let windows = layout.clusters().div_ceil(claims::WINDOW);
    let work = work(layout, &tables, windows);
    if work > MAX_WORK {
        return Err(Problem::TooLarge { bytes: work });
    }
    let mut walk = Walk { file, header, layout, tables, cluster: layout.buffer() };
    let mut claims = Claims::new(layout.clusters());
    for (number, window) in Window::all(layout.clusters()).enumerate() {
        if work > LONG {
            let part = number + 1;
            tracing::info!(part, windows, bytes = work, "checking a large qcow2 image");
        }
        claims.begin(window);
        walk.claim_tables(&mut claims)?;
        walk.claim_data(&mut claims)?;
        refcounts::compare(&mut walk, &claims)?;
    }
    Ok(())
}

/// Bytes that a walk looks at: every L2 table in each window, every refcount block in its own, and the claims.
fn work(layout: Layout, tables: &Tables, windows: u64) -> u64 {
    let l2 = (tables.l2.len() as u64 * layout.cluster_size()).saturating_mul(windows);
    let blocks = tables.blocks.iter().filter(|block| **block != 0).count();
    let blocks = blocks as u64 * layout.cluster_size();
    l2.saturating_add(blocks).saturating_add(layout.clusters().saturating_mul(2))
}

/// What is walked.
struct Walk<'a> {
    file: &'a File,
    header: &'a Header,
    layout: Layout,
    tables: Tables,
    /// Room for one cluster.
    cluster: Vec<u8>,
}

impl Walk<'_> {
    /// Claims what the image itself is made of.
    fn claim_tables(&self, claims: &mut Claims) -> Result<(), Problem> {
        let mut claim_run = |used: Use, offset: u64, bytes: u64| {
            let first = self.layout.cluster_of(offset);
            let count = bytes.div_ceil(self.layout.cluster_size());
            (first..first.saturating_add(count)).try_for_each(|cluster| {
                claims.claim_alone(cluster).map_err(|_| self.overlap(used, cluster))
            })
        };
        claim_run(Use::Header, 0, 1)?;
        claim_run(Use::L1Table, self.header.l1.offset, self.header.l1.bytes)?;
        let refcounts = self.header.refcounts;
        claim_run(Use::RefcountTable, refcounts.offset, refcounts.bytes)?;
        for block in self.tables.blocks.iter().filter(|offset| **offset != 0) {
            claim_run(Use::RefcountBlock, *block, 1)?;
        }
        self.tables.l2.iter().try_for_each(|table| claim_run(Use::L2Table, *table, 1))
    }

    /// Claims what the L2 tables refer to.
    fn claim_data(&mut self, claims: &mut Claims) -> Result<(), Problem> {
        for at in 0..self.tables.l2.len() {
            let table = self.tables.l2[at];
            read_padded(self.file, &mut self.cluster, table)?;
            for entry in entry::numbers(&self.cluster) {
                let place = self.layout.decode(entry, self.header.version);
                let place = place.map_err(|flawed| flawed.of(Use::L2Table, table))?;
                self.claim_place(claims, place)?;
            }
        }
        Ok(())
    }

    fn claim_place(&self, claims: &mut Claims, place: Place) -> Result<(), Problem> {
        match place {
            Place::Nowhere => Ok(()),
            Place::At(Guest::Standard(cluster)) => {
                claims.claim_alone(cluster).map_err(|_| self.overlap(Use::Data, cluster))
            }
            Place::At(Guest::Compressed { first, last }) => {
                (first..=last).try_for_each(|cluster| {
                    claims.claim_shared(cluster).map_err(|_| self.overlap(Use::Compressed, cluster))
                })
            }
        }
    }

    fn overlap(&self, used: Use, cluster: u64) -> Problem {
        Problem::Overlap { used, offset: self.layout.offset_of(cluster) }
    }
}
