//! What the guest as a whole is doing.

/// The guest's phase, as the BSP (or a crashing vCPU) writes it into the control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Phase {
    /// Bringing vCPUs up.
    Booting = 1,
    /// Every expected vCPU is up and the initial mode was announced.
    Running = 2,
    /// Key `r`: about to reset.
    Rebooting = 3,
    /// Key `q`: about to power off.
    PoweringOff = 4,
    /// An unexpected exception; the crash record is complete.
    Crashed = 5,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 5] =
        [Self::Booting, Self::Running, Self::Rebooting, Self::PoweringOff, Self::Crashed];

    /// The number that stands for the phase in guest memory. 0 stands for none: not started yet.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The phase with this number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.number() == number)
    }
}
