//! Consoles: the host side of serial ports and other character devices.
//!
//! ```text
//!   vCPU ─▶ Serial ─send─▶ ConsolePort ═ring═▶ ┌────────┐ ─write─▶ file, pty, socket, terminal
//!              ▲                               │ thread │
//!              └─────────────── offer ──────── └────────┘ ◀─read── InputFilter ◀─ …
//! ```
//!
//! A vCPU puts a byte into a bounded ring and goes on; when the host side does not take its
//! bytes, the ring fills and further bytes are dropped and counted. A thread of the
//! console's own (`worker`) does all reading and writing. A [`HostConsole`] outlives the devices
//! that are attached to it: a VM that reboots attaches a new one.
//!
//! Signals: the thread handles none itself and survives all that do not end the process. It
//! inherits the signal mask of the thread that starts it, so a program that wants its signals
//! elsewhere blocks them before. `SIGPIPE` must be ignored, as Rust's runtime does.
mod descriptor;
mod doorbell;
mod error;
mod host;
mod link;
mod port;
mod ring;
mod socket;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

pub use error::ConsoleError;
pub use host::Backend;
pub use link::{ConsoleInput, ConsoleOutput, ConsoleSize, InputFilter};
pub use port::ConsolePort;

use crate::counters::CounterSource;
pub(crate) use socket::{Listener, connect_now};

use doorbell::Doorbell;
use worker::Worker;

/// The ring holds 2^16 bytes of output.
const RING_ORDER: u32 = 16;

/// The host side of one console.
pub struct HostConsole {
    port: Arc<ConsolePort>,
    thread: Option<JoinHandle<()>>,
    location: Option<PathBuf>,
}

impl HostConsole {
    /// Opens the host side and starts its thread, which is called `name` (15 bytes of it are
    /// seen). Without a filter, all input is for the guest.
    pub fn start(
        name: &str,
        backend: Backend,
        filter: Option<Box<dyn InputFilter>>,
    ) -> Result<Self, ConsoleError> {
        let doorbell = Doorbell::new().map_err(|e| ConsoleError::Thread(e.into()))?;
        let (host, location) = backend.open()?;
        let Some(host) = host else {
            let port = Arc::new(ConsolePort::new(None, doorbell));
            return Ok(Self { port, thread: None, location });
        };
        let (producer, ring) = ring::ring(RING_ORDER);
        let port = Arc::new(ConsolePort::new(Some(producer), doorbell));
        let worker = Worker {
            port: Arc::clone(&port),
            ring,
            host,
            filter,
            staged: Vec::new(),
            written: 0,
            input: VecDeque::new(),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || worker.run())
            .map_err(ConsoleError::Thread)?;
        Ok(Self { port, thread: Some(thread), location })
    }

    /// The device end.
    pub fn port(&self) -> &Arc<ConsolePort> {
        &self.port
    }

    /// The pseudo-terminal, socket or file that people can connect to or look into.
    pub fn location(&self) -> Option<&Path> {
        self.location.as_deref()
    }

    /// Ends the thread, once it has written what output is left. A host side that does not take
    /// it gets one second in all; what is lost then is counted. The counters can still be read
    /// from the port afterwards.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.port.stop();
            if thread.join().is_err() {
                tracing::error!("the console's thread panicked");
            }
        }
    }
}

impl Drop for HostConsole {
    fn drop(&mut self) {
        self.join();
    }
}

impl CounterSource for HostConsole {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.port.counters()
    }
}
