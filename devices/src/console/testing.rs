//! A console whose host side takes nothing but what a test takes: the console's thread, taken apart into its steps.

use std::sync::Arc;

use super::doorbell::Doorbell;
use super::port::ConsolePort;
use super::ring::{Consumer, ring};

/// The host side.
pub struct StuckHost {
    port: Arc<ConsolePort>,
    ring: Consumer,
}

/// What the console's thread does after it has found no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// It polls, and wakes when the bell rings.
    Asleep,
    /// Output has come meanwhile: it looks again.
    Awake,
}

impl StuckHost {
    /// One whose ring holds `2^order` bytes.
    ///
    /// # Errors
    /// The process or the host has no file descriptor left.
    pub fn new(order: u32) -> std::io::Result<Self> {
        let (producer, ring) = ring(order);
        Ok(Self { port: Arc::new(ConsolePort::new(Some(producer), Doorbell::new()?)), ring })
    }

    /// The device end.
    pub fn port(&self) -> &Arc<ConsolePort> {
        &self.port
    }

    /// Takes what there is.
    pub fn take(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        self.ring.take_into(&mut taken, usize::MAX);
        taken
    }

    /// Goes to sleep, as the console's thread does when it has found nothing to take.
    pub fn fall_asleep(&self) -> Sleep {
        self.port.doorbell.fall_asleep();
        if self.ring.is_empty() { Sleep::Asleep } else { Sleep::Awake }
    }

    /// Whether the bell has rung since the last call.
    pub fn was_rung(&self) -> bool {
        self.port.doorbell.silence()
    }
}
