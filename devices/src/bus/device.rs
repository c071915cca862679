//! What a bus asks of a device.

use vcpu_state::Ticket;

/// What a write came to.
#[derive(Clone, Debug)]
#[must_use = "a guest must not go on before the ticket is done"]
pub enum Written {
    /// It has taken effect.
    Done,
    /// It takes effect later: the vCPU that wrote waits for the ticket, in its own word, before it enters
    /// the guest again. A pause or kill ends that wait.
    Wait(Ticket),
}

/// A register block. Every method may be called by any number of vCPUs at once, in the middle
/// of an exit, so none may block.
pub trait BusDevice: Send + Sync {
    /// What it is called in error messages.
    fn name(&self) -> &str;

    /// Fills `data` from `offset` bytes into the range that the device was published at. The
    /// access lies within the range.
    fn read(&self, offset: u64, data: &mut [u8]);

    /// Takes `data` at `offset` bytes into the range. The access lies within the range.
    fn write(&self, offset: u64, data: &[u8]) -> Written;
}

/// A device whose registers are eight bits wide. A wider access is split into bytes at
/// consecutive addresses, lowest first, as a bridge to an eight-bit ISA device does.
pub trait ByteRegisters: Send + Sync {
    /// What it is called in error messages.
    const NAME: &'static str;

    /// Reads one register.
    fn read_register(&self, offset: u64) -> u8;

    /// Writes one register.
    fn write_register(&self, offset: u64, value: u8);
}

impl<D: ByteRegisters> BusDevice for D {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        for (register, byte) in (offset..).zip(data) {
            *byte = self.read_register(register);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        for (register, byte) in (offset..).zip(data) {
            self.write_register(register, *byte);
        }
        Written::Done
    }
}
