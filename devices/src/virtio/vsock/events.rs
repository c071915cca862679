//! The event queue (virtio 1.2, 5.10.6.7): the one event that there is, a transport reset.
//!
//! ```text
//!   activated for a restored driver ─▶ owed ── a buffer is there ──▶ told ─▶ the guest ends its connections, and reads its context id again
//!                                        └ none: at the queue's next doorbell
//! ```
//!
//! Invariant: a restored guest is told once for each restore, before its next packet of a connection is answered if it has given a buffer.
//! (Its packets belong to nobody here, and are answered by resets, so that a connection ends either way.)

use super::worker::VsockWorker;
use crate::virtio::{Malformed, Origin};

/// `struct virtio_vsock_event` of VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, which is 0.
const TRANSPORT_RESET: [u8; 4] = [0; 4];

/// What the guest has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// Nothing.
    Nothing,
    /// That its connections are gone.
    TransportReset,
}

impl VsockWorker {
    /// The same, for a driver that has to be told what has happened before.
    pub(super) fn telling(mut self, origin: Origin) -> Self {
        self.owed = match origin {
            Origin::Driver => Owed::Nothing,
            Origin::Restored => Owed::TransportReset,
        };
        self
    }

    /// Tells the guest what it has to be told, if it has a buffer for that.
    pub(super) fn tell(&mut self) -> Result<(), Malformed> {
        let Some(event) = &mut self.event else { return Ok(()) };
        while self.owed == Owed::TransportReset {
            if !event.pop(&mut self.chain)? {
                if event.enable_notifications()? {
                    continue;
                }
                return Ok(());
            }
            if self.chain.readable_len() > 0 || self.chain.writable_len() < 4 {
                return Err(Malformed::Shape("an event's buffer is writable, with room for one"));
            }
            let written = self.chain.write(event.memory(), 0, &TRANSPORT_RESET)?;
            // Four bytes.
            event.push(self.chain.head(), u32::try_from(written).unwrap_or_default())?;
            self.owed = Owed::Nothing;
        }
        event.flush()
    }
}
