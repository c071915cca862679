//! A link that is narrower than this host: what comes in at one Unix socket goes out at another, at a rate.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::pace;

/// What goes through at once: so much may be ahead of the rate.
const PIECE: usize = 64 << 10;

/// Carries the first connection to `at` on to `to`, there at so many bytes a second, back as they come. Ends with the connection.
pub(super) fn carry(at: &Path, to: PathBuf, rate: f64) -> Result<()> {
    let listener = UnixListener::bind(at).context("cannot listen for the narrow link")?;
    std::thread::spawn(move || -> Result<()> {
        let (source, _) = listener.accept()?;
        let destination = UnixStream::connect(to)?;
        let (back, answers) = (source.try_clone()?, destination.try_clone()?);
        std::thread::spawn(move || pump(answers, back, f64::INFINITY));
        pump(source, destination, rate);
        Ok(())
    });
    Ok(())
}

/// Whichever end closes, the other hears of it.
fn pump(mut from: UnixStream, mut to: UnixStream, rate: f64) {
    let mut piece = vec![0; PIECE];
    let mut due = Instant::now();
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        due = due.max(Instant::now()) + Duration::from_secs_f64(f64::from(count) / rate);
        pace::pause_for(due.saturating_duration_since(Instant::now()));
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
