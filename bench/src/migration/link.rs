//! What a Unix socket carries on this host: one thread writes, another reads, nothing else.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What goes through at a time, and altogether.
const CHUNK: usize = 1 << 20;
const CHUNKS: u32 = 256;

/// Bytes a second.
pub(super) fn speed() -> Result<f64> {
    let (mut one, mut other) = UnixStream::pair().context("no socket pair")?;
    let writer = std::thread::spawn(move || {
        let chunk = vec![0x5A; CHUNK];
        (0..CHUNKS).try_for_each(|_| one.write_all(&chunk))
    });
    let mut chunk = vec![0; CHUNK];
    let begun = Instant::now();
    for _ in 0..CHUNKS {
        other.read_exact(&mut chunk).context("the socket breaks off")?;
    }
    let took = begun.elapsed().as_secs_f64();
    match writer.join() {
        Ok(written) => written?,
        Err(_) => bail!("the writer panicked"),
    }
    let chunk = u32::try_from(CHUNK).context("a chunk is small")?;
    Ok(f64::from(CHUNKS) * f64::from(chunk) / took)
}
