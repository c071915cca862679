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
const KNOWN: u64 = DIRTY | CORRUPT;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the disk.
    pub size: u64,
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
    match version {
        2 => {}
        3 => check_v3(&raw, len)?,
        _ => return Err(format!("it is of version {version}; 2 and 3 are known")),
    }
    if be32(&raw, 32) != 0 {
        return Err("it is encrypted".into());
    }
    let size = be64(&raw, 24);
    let l1 = (be64(&raw, 40), u64::from(be32(&raw, 36)) * 8);
    let refcounts = (be64(&raw, 48), u64::from(be32(&raw, 56)) << cluster_bits);
    check_table("L1", l1, cluster_bits, MAX_L1, len)?;
    check_table("refcount", refcounts, cluster_bits, MAX_REFCOUNT_TABLE, len)?;
    // Each L1 entry is for an L2 table of one cluster, each of whose entries is for a cluster.
    let per_entry = 1_u64 << (2 * cluster_bits - 3);
    if l1.1 / 8 < size.div_ceil(per_entry) {
        return Err("its L1 table is too small for its disk".into());
    }
    let backing = backing(file, &raw, len, cluster_bits).map_err(unreadable)??;
    Ok(Header { size, backing })
}

fn check_v3(raw: &[u8], len: u64) -> Result<(), String> {
    if len < V3_LEN {
        return Err("it is shorter than its header".into());
    }
    let features = be64(raw, 72);
    if features & EXTERNAL_DATA != 0 {
        return Err("its data is in another file, which is not supported".into());
    }
    if features & CORRUPT != 0 {
        return Err("it is marked as corrupt; repair it with qemu-img check -r all".into());
    }
    if features & !KNOWN != 0 {
        return Err(format!("it has features that are not known: {:#x}", features & !KNOWN));
    }
    let refcount_order = be32(raw, 96);
    if refcount_order > 6 {
        return Err(format!("its refcounts have 2^{refcount_order} bits; 2^6 is the most"));
    }
    let header_len = be32(raw, 100);
    if u64::from(header_len) < V3_LEN || !header_len.is_multiple_of(8) || header_len > 4096 {
        return Err(format!("its header has {header_len} bytes, which cannot be"));
    }
    Ok(())
}

/// A table lies in clusters of the file.
fn check_table(
    name: &str,
    (offset, bytes): (u64, u64),
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
