//! Faulting the whole RAM in before the guest runs, on several threads when it is big.
//!
//! One thread zeroes a few GiB a second; with many GiB the zeroing is what a start waits for,
//! and it scales with the host's memory channels.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::GuestMemory;
use super::advise::{Keep, Span};

/// What one system call faults in: small enough to share evenly, big enough not to be felt.
const PIECE: usize = 1 << 30;

/// More threads than this gain nothing on memory bandwidth.
const MAX_THREADS: usize = 16;

/// Bytes that the host can give out without swapping or ending somebody (`MemAvailable` of
/// /proc/meminfo, proc(5)); `None` where it does not tell.
pub(super) fn available() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Faults every page of the first `regions` regions of `memory` in.
pub(super) fn all(memory: &GuestMemory, regions: usize) -> io::Result<()> {
    let spans = Span::of(memory).into_iter().take(regions);
    let pieces: Vec<Span<'_>> = spans.flat_map(|span| span.pieces(PIECE)).collect();
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = pieces.len().min(cpus).min(MAX_THREADS);
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<()> {
        // Relaxed: the counter only deals out pieces; joining the threads orders the rest.
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            piece.advise(Keep::FaultIn)?;
        }
        Ok(())
    };
    if threads <= 1 {
        return work();
    }
    thread::scope(|scope| {
        // One that cannot be started leaves its work to the others.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads).filter_map(start).collect();
        let mut result = work();
        for helper in helpers {
            let outcome = helper
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a prefault thread panicked")));
            result = result.and(outcome);
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::available_in;

    #[test]
    fn what_is_available_is_read_in_bytes() {
        let meminfo = "MemTotal:       24000000 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(available_in(meminfo), Some(23_000_000 * 1024));
        assert_eq!(available_in("MemTotal: 1 kB\n"), None);
        assert_eq!(available_in("MemAvailable: many kB\n"), None);
    }
}
