//! What the vCPUs do: the modes, their numbers, names and keys.

/// What all vCPUs of the guest are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Mode {
    /// HLT with interrupts enabled.
    Halt = 0,
    /// Incrementing the heartbeat at CPL 3: native speed on every KVM.
    Busy = 1,
    /// The same at CPL 0.
    Busy0 = 2,
    /// A storm of port accesses at CPL 3, by the TSS's I/O permission bitmap.
    Io = 3,
    /// A storm of accesses to unclaimed MMIO at CPL 3.
    Mmio = 4,
}

impl Mode {
    /// Every mode, by number.
    pub const ALL: [Self; 5] = [Self::Halt, Self::Busy, Self::Busy0, Self::Io, Self::Mmio];

    /// The number that stands for the mode in guest memory.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The mode with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.number() == number)
    }

    /// The value for `mode=` on the guest's command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Busy => "busy",
            Self::Busy0 => "busy0",
            Self::Io => "io",
            Self::Mmio => "mmio",
        }
    }

    /// The key that brings all vCPUs into the mode.
    pub const fn key(self) -> u8 {
        match self {
            Self::Halt => b'h',
            Self::Busy => b'b',
            Self::Busy0 => b'k',
            Self::Io => b'i',
            Self::Mmio => b'm',
        }
    }

    /// What the guest prints for it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Halt => "halted",
            Self::Busy => "busy at CPL 3",
            Self::Busy0 => "busy at CPL 0",
            Self::Io => "PIO storm",
            Self::Mmio => "MMIO storm",
        }
    }
}
