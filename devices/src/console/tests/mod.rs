//! Tests of the host side, each against real descriptors.
mod file;
mod pty;
mod serial;
mod socket;
mod terminal;

use std::io::{PipeReader, PipeWriter, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, OwnedFd};

use super::*;

/// Long enough that only what never comes takes longer.
pub(super) const NEVER: Duration = Duration::from_secs(30);

/// A device that takes all input at once.
pub(super) struct Taker(Sender<u8>);

impl ConsoleInput for Taker {
    fn offer(&self, bytes: &[u8]) -> usize {
        for byte in bytes {
            self.0.send(*byte).unwrap();
        }
        bytes.len()
    }
}

/// A device that tells the sizes that it is told.
pub(super) struct Sized(Sender<ConsoleSize>);

impl ConsoleInput for Sized {
    fn offer(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }

    fn resized(&self, size: ConsoleSize) {
        self.0.send(size).unwrap();
    }
}

/// Attaches a device that tells of sizes, and gives them.
pub(super) fn sized(console: &HostConsole) -> (Arc<Sized>, Receiver<ConsoleSize>) {
    let (sender, receiver) = channel();
    let device = Arc::new(Sized(sender));
    console.port().attach(&device);
    (device, receiver)
}

/// Waits for this size; the one before it may be told again first.
pub(super) fn expect_size(sizes: &Receiver<ConsoleSize>, columns: u16, rows: u16) {
    while sizes.recv_timeout(NEVER).unwrap() != (ConsoleSize { columns, rows }) {}
}

/// A device that takes none.
pub(super) struct Stuck;

impl ConsoleInput for Stuck {
    fn offer(&self, _bytes: &[u8]) -> usize {
        0
    }
}

/// Attaches a device that takes all input, and gives that.
pub(super) fn taker(console: &HostConsole) -> (Arc<Taker>, Receiver<u8>) {
    let (sender, receiver) = channel();
    let device = Arc::new(Taker(sender));
    console.port().attach(&device);
    (device, receiver)
}

/// Waits for these bytes of input.
pub(super) fn expect_input(receiver: &Receiver<u8>, expected: &[u8]) {
    for byte in expected {
        assert_eq!(receiver.recv_timeout(NEVER).unwrap(), *byte);
    }
}

/// Passes everything on but `!`, of which it tells.
pub(super) struct Escape(pub(super) Sender<()>);

impl InputFilter for Escape {
    fn filter(&mut self, input: &[u8], guest: &mut Vec<u8>) {
        for byte in input {
            match byte {
                b'!' => self.0.send(()).unwrap(),
                other => guest.push(*other),
            }
        }
    }
}

pub(super) fn print(console: &HostConsole, bytes: &[u8]) {
    for byte in bytes {
        console.port().send(*byte);
    }
}

/// Waits until a descriptor can be read, has ended, or was hung up.
pub(super) fn wait_readable(fd: impl AsFd) {
    let time = Timespec::try_from(NEVER).unwrap();
    let found = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time)).unwrap();
    assert_eq!(found, 1, "nothing came");
}

/// Reads these bytes.
pub(super) fn expect_output(mut from: impl Read + AsFd, expected: &[u8]) {
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    while got.len() < expected.len() {
        wait_readable(from.as_fd());
        let most = chunk.len().min(expected.len() - got.len());
        let len = from.read(&mut chunk[..most]).unwrap();
        assert_ne!(len, 0, "ended after {:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&chunk[..len]);
    }
    assert!(got == expected, "got {:?}", String::from_utf8_lossy(&got));
}

pub(super) fn counter(source: &dyn CounterSource, name: &str) -> u64 {
    source.counters().into_iter().find(|(n, _)| *n == name).unwrap().1
}

/// A console on two pipes, with their other ends.
pub(super) fn on_pipes(
    filter: Option<Box<dyn InputFilter>>,
) -> (HostConsole, PipeWriter, PipeReader) {
    let (input, keys) = std::io::pipe().unwrap();
    let (screen, output) = std::io::pipe().unwrap();
    let backend =
        Backend::Terminal { input: OwnedFd::from(input), output: output.into(), resized: None };
    (HostConsole::start("con-test", backend, filter).unwrap(), keys, screen)
}

/// More than the ring and any pipe or socket holds.
pub(super) const FLOOD: usize = 2 << 20;

/// What a stuck host side did not take is counted, to the byte.
pub(super) fn assert_all_counted(port: &ConsolePort, sent: usize) {
    let (taken, dropped) = (counter(port, "output_bytes"), counter(port, "output_dropped"));
    assert_eq!(taken + dropped, sent as u64);
    assert!(dropped > 0);
}

#[test]
fn null_takes_everything() {
    let console = HostConsole::start("con-null", Backend::Null, None).unwrap();
    print(&console, b"gone");
    assert_eq!(counter(&console, "output_bytes"), 4);
    assert_eq!(console.location(), None);
}

#[test]
fn the_console_does_not_keep_a_device_alive() {
    let (console, _keys, _screen) = on_pipes(None);
    let (device, _input) = taker(&console);
    let weak = Arc::downgrade(&device);
    drop(device);
    assert!(weak.upgrade().is_none());
    console.stop();
}
