//! The header of a qcow2 image, looked at before the library is let near it: sizes in it decide how much
//! memory is allocated, and features in it which code runs.
//!
//! Source: QEMU's `docs/interop/qcow2.rst`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The first bytes.
pub(in crate::virtio::block) const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Bytes of a version 2 header, and of the part of a version 3 header that is looked at.
const V2_LEN: u64 = 72;
const V3_LEN: u64 = 104;

/// Bytes that the active L1 table and the refcount table may have: what QEMU allows.
const MAX_L1: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// Bytes that the name of a backing file may have.
const MAX_NAME: u32 = 1023;

/// Incompatible features (bit numbers in the header).
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// What these say, where an image that has them is refused.
const REFUSED: [(u64, &str); 5] = [
    (CORRUPT, "it is marked as corrupt; qemu-img check -r all may repair it"),
    (DIRTY, "it was not closed in order (it is marked as dirty); qemu-img check -r all repairs it"),
    (EXTERNAL_DATA, "its data is in another file, which is not supported"),
    (COMPRESSION, "it is compressed by another method than deflate, which is not supported"),
    (EXTENDED_L2, "its L2 tables have subclusters, which are not supported"),
];

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub offset: u64,
    pub bytes: u64,
}

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Bytes of a cluster, as a power of two.
    pub cluster_bits: u32,
    /// Bits of a refcount, as a power of two.
    pub refcount_order: u32,
    /// Bytes of the disk.
    pub size: u64,
    /// The active L1 table, in the file and at the beginning of a cluster.
    pub l1: Span,
    /// The refcount table, likewise.
    pub refcounts: Span,
    /// Internal snapshots.
    pub snapshots: u32,
    /// The backing file, as it is written.
    pub backing: Option<String>,
}

/// Reads and checks the header of a file of `len` bytes.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(file: &File, len: u64) -> Result<Header, String> {
    let mut raw = [0; 104];
    if len < V2_LEN {
        return Err("it is shorter than a qcow2 header".into());
    }
    let there = usize::try_from(len.min(V3_LEN)).unwrap_or(0);
    let unreadable = |error: io::Error| format!("its header cannot be read: {error}");
    file.read_exact_at(&mut raw[..there], 0).map_err(unreadable)?;
    if raw[..4] != MAGIC {
        return Err("it does not begin as a qcow2 image".into());
    }
    let version = be32(&raw, 4);
    let cluster_bits = be32(&raw, 20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(format!("clusters of 2^{cluster_bits} bytes; 2^9 to 2^21 are allowed"));
    }
    let refcount_order = match version {
        2 => 4,
        3 => check_v3(&raw, len)?,
        _ => return Err(format!("it is of version {version}; 2 and 3 are known")),
    };
    if be32(&raw, 32) != 0 {
        return Err("it is encrypted".into());
    }
    let size = be64(&raw, 24);
    let l1 = Span { offset: be64(&raw, 40), bytes: u64::from(be32(&raw, 36)) * 8 };
    let refcount_bytes = u64::from(be32(&raw, 56)) << cluster_bits;
    let refcounts = Span { offset: be64(&raw, 48), bytes: refcount_bytes };
    check_table("L1", l1, cluster_bits, MAX_L1, len)?;
    check_table("refcount", refcounts, cluster_bits, MAX_REFCOUNT_TABLE, len)?;
    // Each L1 entry is for an L2 table of one cluster, each of whose entries is for a cluster.
    let per_entry = 1_u64 << (2 * cluster_bits - 3);
    if l1.bytes / 8 < size.div_ceil(per_entry) {
        return Err("its L1 table is too small for its disk".into());
    }
    let backing = backing(file, &raw, len, cluster_bits).map_err(unreadable)??;
    let snapshots = be32(&raw, 60);
    Ok(Header { version, cluster_bits, refcount_order, size, l1, refcounts, snapshots, backing })
}

/// The part of version 3, which says how wide refcounts are.
fn check_v3(raw: &[u8], len: u64) -> Result<u32, String> {
    if len < V3_LEN {
        return Err("it is shorter than its header".into());
    }
    let features = be64(raw, 72);
    if let Some((_, problem)) = REFUSED.iter().find(|(feature, _)| features & feature != 0) {
        return Err((*problem).into());
    }
    if features != 0 {
        return Err(format!("it has features that are not known: {features:#x}"));
    }
    let refcount_order = be32(raw, 96);
    if refcount_order > 6 {
        return Err(format!("its refcounts have 2^{refcount_order} bits; 2^6 is the most"));
    }
    let header_len = be32(raw, 100);
    if u64::from(header_len) < V3_LEN || !header_len.is_multiple_of(8) || header_len > 4096 {
        return Err(format!("its header has {header_len} bytes, which cannot be"));
    }
    Ok(refcount_order)
}

/// A table lies in clusters of the file.
fn check_table(
    name: &str,
    Span { offset, bytes }: Span,
    cluster_bits: u32,
    most: u64,
    len: u64,
) -> Result<(), String> {
    if bytes > most {
        return Err(format!("its {name} table has {bytes} bytes; {most} are the most"));
    }
    if !offset.is_multiple_of(1 << cluster_bits) {
        return Err(format!("its {name} table is not at the beginning of a cluster"));
    }
    let end = offset.checked_add(bytes);
    if bytes > 0 && (offset == 0 || end.is_none_or(|end| end > len)) {
        return Err(format!("its {name} table is not within the file"));
    }
    Ok(())
}

fn backing(
    file: &File,
    raw: &[u8],
    len: u64,
    cluster_bits: u32,
) -> io::Result<Result<Option<String>, String>> {
    let (offset, bytes) = (be64(raw, 8), be32(raw, 16));
    if offset == 0 {
        return Ok(Ok(None));
    }
    let end = offset.saturating_add(bytes.into());
    if bytes > MAX_NAME || end > len || end > 1 << cluster_bits {
        return Ok(Err("the name of its backing file is not within its first cluster".into()));
    }
    let mut name = vec![0; bytes as usize];
    file.read_exact_at(&mut name, offset)?;
    let text = String::from_utf8(name);
    Ok(text.map(Some).map_err(|_| "the name of its backing file is no text".into()))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
