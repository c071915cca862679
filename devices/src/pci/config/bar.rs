//! Base address registers: what their bits mean (PCI Local Bus 3.0, 6.2.5.1).

/// The address space that a BAR is in, and how wide its register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarSpace {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; the register takes the place of two.
    Memory64,
    /// I/O ports.
    Io,
}

/// A BAR as its registers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarState {
    /// The address: a GPA, or a port.
    pub gpa: u64,
    /// Bytes that it decodes.
    pub len: u64,
    /// What the address is an address of.
    pub space: BarSpace,
    /// Whether the command register lets the function answer in that space.
    pub enabled: bool,
}

/// What a BAR is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct BarLayout {
    pub(super) space: BarSpace,
    pub(super) len: u64,
}

impl BarSpace {
    /// The read-only bits: the indicator of the space and, for memory, the type. No BAR is prefetchable:
    /// reads of device registers have effects.
    pub(super) const fn attributes(self) -> u32 {
        match self {
            Self::Memory32 => 0b0000,
            Self::Memory64 => 0b0100,
            Self::Io => 0b01,
        }
    }

    /// The smallest and the largest size.
    pub(super) const fn sizes(self) -> (u64, u64) {
        match self {
            Self::Memory32 => (16, 1 << 31),
            Self::Memory64 => (16, 1 << 62),
            Self::Io => (4, 256),
        }
    }
}

impl BarLayout {
    /// The bits of the address that the guest decides.
    pub(super) const fn writable(self) -> u64 {
        let address = !(self.len - 1);
        match self.space {
            BarSpace::Memory64 => address,
            BarSpace::Memory32 | BarSpace::Io => address & 0xFFFF_FFFF,
        }
    }

    /// The address in a register and, for 64 bits, the one after it.
    pub(super) const fn address(self, low: u32, high: u32) -> u64 {
        ((high as u64) << 32 | low as u64) & self.writable()
    }
}

impl BarState {
    /// Where the function is to answer now: nowhere without leave of the command register, at address 0 (which
    /// no BAR has, PCI Local Bus 3.0, 6.2.5.1), while the register holds the all ones of a guest that asks for
    /// the size, or past the end of the space.
    pub fn answers_at(self) -> Option<u64> {
        let layout = BarLayout { space: self.space, len: self.len };
        let last_port = 1 << 16;
        let fits = self.space != BarSpace::Io || self.gpa + self.len <= last_port;
        (self.enabled && self.gpa != 0 && self.gpa != layout.writable() && fits).then_some(self.gpa)
    }
}
