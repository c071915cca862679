//! The console's thread: it moves bytes between the ring, the device and the host.
//!
//! ```text
//!            ┌──────────────────────────────────────────────────────────┐
//!            ▼                                                          │
//!   deliver waiting input ─▶ write one chunk of output ─▶ poll ─▶ handle what is ready
//!                                                          ▲
//!      doorbell: output after sleep, room for input, new device, stop
//! ```
//!
//! Invariants:
//! - No descriptor blocks, so input is read however stuck the output is, and the other way
//!   round. Each round writes one chunk, so a flood of output does not keep input waiting.
//! - With a filter, input is always read, so that an escape sequence is always found; what the
//!   guest does not take in time is dropped and counted. Without one, input is left where it
//!   is until the guest takes it.
//! - The thread sleeps only in `poll`, and every reason to wake up is a descriptor in it.
//! - The device knows the terminal's size as of the last input, and of the last sign that it changed. A pseudo-terminal
//!   gives none to its master, so there it is learned with the next key.
mod sleep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::{Errno, read, write};
use rustix::termios::tcgetwinsize;

use sleep::{Found, Output};

use super::descriptor::Descriptor;
use super::host::Host;
use super::link::{ConsoleSize, InputFilter};
use super::port::{ConsolePort, count};
use super::ring::Consumer;

/// Bytes moved in one go.
const CHUNK: usize = 4096;
/// Bytes of input that wait for the guest at most.
const INPUT_LIMIT: usize = 64 << 10;
/// How long a stop lets a slow host side take the output that is left.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    pub(super) port: Arc<ConsolePort>,
    pub(super) ring: Consumer,
    pub(super) host: Host,
    pub(super) filter: Option<Box<dyn InputFilter>>,
    /// Output that is being written, and how much of it has been.
    pub(super) staged: Vec<u8>,
    pub(super) written: usize,
    /// Input that the device has no room for yet.
    pub(super) input: VecDeque<u8>,
}

impl Worker {
    /// Runs until the port says stop.
    pub(super) fn run(mut self) {
        while !self.port.stopping() {
            self.deliver();
            let output = self.write_chunk();
            for found in self.wait(output) {
                match found {
                    // There may be a new device, which knows no size.
                    Found::Bell => {
                        let _ = self.port.doorbell.silence();
                        self.tell_size();
                    }
                    Found::Input => {
                        self.tell_size();
                        self.read_chunk();
                    }
                    Found::HangUp => self.hang_up(),
                    Found::Client => self.accept(),
                    Found::Resized => {
                        self.forget_signs();
                        self.tell_size();
                    }
                }
            }
        }
        self.finish();
    }

    /// Gives the device as much input as it takes.
    fn deliver(&mut self) {
        if self.input.is_empty() {
            return;
        }
        if let Some(device) = self.port.device() {
            let taken = device.offer(self.input.make_contiguous());
            self.input.drain(..taken);
            count(&self.port.counts.input, taken);
        }
    }

    /// Tells the device how large the terminal is; one that has no size says nothing.
    fn tell_size(&self) {
        let Some(terminal) = &self.host.terminal else { return };
        if let Ok(size) = tcgetwinsize(terminal)
            && (size.ws_col, size.ws_row) != (0, 0)
            && let Some(device) = self.port.device()
        {
            device.resized(ConsoleSize { columns: size.ws_col, rows: size.ws_row });
        }
    }

    /// Takes the signs that the size may have changed, so that only later ones wake the thread.
    fn forget_signs(&mut self) {
        let mut signs = [0; 64];
        let Some(resized) = &self.host.resized else { return };
        match read(resized, &mut signs) {
            Ok(len) if len > 0 => {}
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody can write any more.
            Ok(_) | Err(_) => self.host.resized = None,
        }
    }

    fn write_chunk(&mut self) -> Output {
        let Some(host) = &self.host.output else { return Output::Nobody };
        if self.staged.is_empty() {
            self.ring.take_into(&mut self.staged, CHUNK);
        }
        if self.staged.is_empty() {
            return Output::Idle;
        }
        let counts = &self.port.counts;
        match write(host, &self.staged[self.written..]) {
            Ok(len) => {
                count(&counts.output, len);
                self.written += len;
            }
            Err(Errno::AGAIN) => return Output::Blocked,
            Err(Errno::INTR) => {}
            Err(error) if host.is_regular() => {
                tracing::warn!(%error, "console output could not be written to its file");
                count(&counts.output_dropped, self.staged.len() - self.written);
                self.written = self.staged.len();
            }
            Err(_) => {
                self.hang_up();
                return Output::Nobody;
            }
        }
        if self.written == self.staged.len() {
            self.staged.clear();
            self.written = 0;
        }
        Output::More
    }

    /// Reads input once; false when there was none.
    fn read_chunk(&mut self) -> bool {
        let Some(host) = &self.host.input else { return false };
        let mut chunk = [0; CHUNK];
        match read(host, &mut chunk) {
            Ok(len) if len > 0 => {
                self.take_input(&chunk[..len]);
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Its end, or it is gone.
            Ok(_) | Err(_) => self.host.input = None,
        }
        false
    }

    fn take_input(&mut self, bytes: &[u8]) {
        let mut kept = Vec::new();
        let bytes = match &mut self.filter {
            Some(filter) => {
                filter.filter(bytes, &mut kept);
                &kept
            }
            None => bytes,
        };
        let room = INPUT_LIMIT.saturating_sub(self.input.len());
        let (taken, dropped) = bytes.split_at(bytes.len().min(room));
        self.input.extend(taken);
        count(&self.port.counts.input_dropped, dropped.len());
    }

    /// Nobody takes output any more. What a client of a socket has sent before is still for the
    /// guest, as far as there is room for it; then the next client can come.
    fn hang_up(&mut self) {
        self.host.output = None;
        if self.host.listener.is_some() {
            // A bound, for a client that only stopped to listen and goes on sending.
            let mut reads = 0..INPUT_LIMIT / CHUNK;
            while reads.next().is_some() && self.read_chunk() {}
            self.host.input = None;
        }
    }

    fn accept(&mut self) {
        // It may have gone away between `poll` and here.
        let Some(Ok(client)) = self.host.listener.as_ref().map(super::socket::Listener::accept)
        else {
            return;
        };
        let client = Arc::new(Descriptor::own(client));
        self.host.input = Some(Arc::clone(&client));
        self.host.output = Some(client);
        count(&self.port.counts.clients, 1);
    }

    /// Writes what output is left, as far as the host side takes it in time.
    fn finish(mut self) {
        let deadline = Instant::now() + LAST_OUTPUT;
        loop {
            let output = self.write_chunk();
            let left = deadline.saturating_duration_since(Instant::now());
            let goes_on = match output {
                Output::More => !left.is_zero(),
                Output::Blocked => !left.is_zero() && self.wait_for_host(left),
                Output::Idle | Output::Nobody => false,
            };
            if !goes_on {
                break;
            }
        }
        let mut lost = std::mem::take(&mut self.staged).len() - self.written;
        self.ring.take_into(&mut self.staged, usize::MAX);
        lost += self.staged.len();
        count(&self.port.counts.output_dropped, lost);
    }
}
