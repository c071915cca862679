//! What a character device and its host side ask of each other.

/// The host side, as the device sees it. Its methods are called by vCPU threads in the middle
/// of an exit, and by device workers; they must not block.
pub trait ConsoleOutput: Send + Sync {
    /// Takes a byte, or drops it and counts that.
    fn send(&self, byte: u8);

    /// Takes bytes, or as many of the first as there is room for; the others are dropped and counted.
    fn send_all(&self, bytes: &[u8]) {
        for byte in bytes {
            self.send(*byte);
        }
    }

    /// [`ConsoleInput::offer`] was refused a byte; now there is room.
    fn input_has_room(&self);
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// The device, as the host side sees it.
pub trait ConsoleInput: Send + Sync {
    /// Takes as many of the first bytes as there is room for and returns how many. When it
    /// takes fewer than all, [`ConsoleOutput::input_has_room`] follows as soon as there is room.
    /// Only one thread at a time may offer.
    fn offer(&self, bytes: &[u8]) -> usize;

    /// The terminal on the host side has this size, which may be news. Most devices have no way to tell the guest.
    fn resized(&self, size: ConsoleSize) {
        let _ = size;
    }
}

/// What stands between a person's keys and the guest, for example to find an escape sequence.
pub trait InputFilter: Send {
    /// Looks at bytes that came in and appends to `guest` what is for the guest. It is called by
    /// the console's thread, also while the guest or the host's output is stuck; it must not
    /// block.
    fn filter(&mut self, input: &[u8], guest: &mut Vec<u8>);
}
