//! A guest that rewrites its memory faster than the link carries it: throttled it arrives, and without the throttle the strategy says what happens.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod migration_bed;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use embedded::TestVm;
use embedded::driver::DriverVm;
use migration_bed::{Destination, send};
use stillpoint_guest::driver::Command;
use vmm::config::{SendMigrationConfig, TimeoutStrategy};
use vmm::control::{ControlError, VmmControl};

/// Pages that the guest rewrites: 4 MiB.
const PAGES: u64 = 1000;
/// Bytes a second: all of these pages take half a second, in which the guest comes around many times.
const LINK: f64 = 8.0 * 1024.0 * 1024.0;
/// Milliseconds: a fifth of these pages.
const DOWNTIME: u64 = 100;

/// Carries one connection on at the link's rate; back it carries as it comes.
fn narrow(at: &Path, to: &Path) {
    let listener = UnixListener::bind(at).unwrap();
    let to = to.to_owned();
    std::thread::spawn(move || {
        let (source, _) = listener.accept().unwrap();
        let destination = UnixStream::connect(to).unwrap();
        let (answers, back) = (destination.try_clone().unwrap(), source.try_clone().unwrap());
        std::thread::spawn(move || pump(answers, back, f64::INFINITY));
        pump(source, destination, LINK);
    });
}

fn pump(mut from: UnixStream, mut to: UnixStream, rate: f64) {
    let mut piece = [0; 16 << 10];
    let mut due = Instant::now();
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
        let count = u32::try_from(count).unwrap();
        due = due.max(Instant::now()) + Duration::from_secs_f64(f64::from(count) / rate);
        let wait = due.saturating_duration_since(Instant::now());
        let wait = rustix::time::Timespec::try_from(wait).unwrap();
        // The link's width, which nothing is decided by.
        let _ = rustix::thread::nanosleep(&wait);
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// The guest comes around again, and finds its memory as it left it.
fn goes_on(guest: &DriverVm) {
    let then = guest.progress(0);
    guest.vm.await_that("the guest going on", |_| {
        assert!(!guest.is_done(0), "{:?}", guest.results(0));
        guest.progress(0) > then
    });
}

struct Moved {
    guest: DriverVm,
    /// The VMM that it left, or would have come to.
    _other: TestVm,
    sent: Result<(), ControlError>,
    /// The hardest throttle that was seen.
    throttle: u8,
}

fn migrate(strategy: TimeoutStrategy, timeout_s: u64) -> Moved {
    let mut guest = DriverVm::boot(1, |_| {});
    guest.begin(0, Command::Patrol, &[PAGES, 1, 0]);
    goes_on(&guest);
    let destination = Destination::waiting(1, None);
    let there = destination.url.strip_prefix("unix:").unwrap().to_owned();
    let link = tempfile::tempdir().unwrap();
    let here = link.path().join("narrow");
    narrow(&here, Path::new(&there));
    let config = SendMigrationConfig {
        downtime_ms: DOWNTIME,
        timeout_s,
        timeout_strategy: strategy,
        ..SendMigrationConfig::to(&format!("unix:{}", here.display()))
    };
    let sending = send(&guest.vm, config);
    let mut throttle = 0;
    while !sending.is_finished() {
        let now = guest.vm.vmm.migration_progress().map_or(0, |info| info.throttle_percent);
        throttle = throttle.max(now);
        std::thread::yield_now();
    }
    let sent = sending.join().unwrap();
    let (arrived, received) = destination.join();
    assert_eq!(sent.is_ok(), received.is_ok(), "{sent:?}, {received:?}");
    let mut other = arrived;
    if sent.is_ok() {
        std::mem::swap(&mut guest.vm, &mut other);
    }
    goes_on(&guest);
    Moved { guest, _other: other, sent, throttle }
}

#[test]
fn a_guest_that_outruns_the_link_is_throttled_until_it_fits_and_runs_freely_at_the_other_end() {
    let moved = migrate(TimeoutStrategy::Throttle, 120);
    moved.sent.unwrap();
    assert!(moved.throttle > 0);
    // Let go: it comes around as often as it likes.
    (0..10).for_each(|_| goes_on(&moved.guest));
}

#[test]
fn without_a_throttle_it_stays_where_it_is_at_the_time_out() {
    let moved = migrate(TimeoutStrategy::Cancel, 2);
    let error = moved.sent.unwrap_err().to_string();
    assert!(error.contains("downtime"), "{error}");
    assert_eq!(moved.throttle, 0);
}

#[test]
fn without_a_throttle_it_is_stopped_at_the_time_out_if_that_is_wanted() {
    let moved = migrate(TimeoutStrategy::Ignore, 2);
    moved.sent.unwrap();
    assert_eq!(moved.throttle, 0);
}
