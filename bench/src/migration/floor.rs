//! What a snapshot's bytes cost on the file system alone: a plain program that writes them into a file and has them on the disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What is written at once.
const CHUNK: usize = 1 << 20;

/// The time for `write` and `fsync` of so many bytes, rounded up to a whole MiB, into a new file in `dir`.
pub(super) fn written(dir: &Path, bytes: u64) -> Result<Duration> {
    let path = dir.join("plain");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    // Something that no file system packs.
    let chunk: Vec<u8> =
        (0_u32..).map(|i| i.wrapping_mul(0x9E37_79B9).to_be_bytes()[0]).take(CHUNK).collect();
    let begun = Instant::now();
    for _ in 0..bytes.div_ceil(CHUNK as u64) {
        file.write_all(&chunk).context("cannot write into the directory for snapshots")?;
    }
    file.sync_all()?;
    let took = begun.elapsed();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(took)
}
