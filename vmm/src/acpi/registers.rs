//! The sleep and reset registers of hardware-reduced ACPI (ACPI 6.5, 4.8.3.6 and 4.8.3.7).

/// I/O port, one byte: the guest writes its sleep type and the sleep-enable bit here.
pub const SLEEP_CONTROL_PORT: u16 = 0x600;

/// I/O port, one byte: reads 0 (bit 7 would tell of a wake-up, which there is none of).
pub const SLEEP_STATUS_PORT: u16 = 0x601;

/// I/O port, one byte: writing [`RESET_VALUE`] resets the machine.
pub const RESET_PORT: u16 = 0x602;

/// What the guest writes to [`RESET_PORT`].
pub const RESET_VALUE: u8 = 1;

/// The sleep type of S5 (soft off) in `\_S5`.
pub(super) const SLEEP_TYPE_S5: u8 = 5;

/// What a write to [`SLEEP_CONTROL_PORT`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SleepControl {
    /// Power off (S5).
    PowerOff,
    /// Enter a sleep state that this machine does not have; ignored.
    Unknown {
        /// Its sleep type.
        sleep_type: u8,
    },
    /// The sleep-enable bit is clear: nothing happens.
    Nothing,
}

impl SleepControl {
    /// Decodes the register: bits 4:2 are the sleep type, bit 5 is the sleep-enable bit.
    pub const fn decode(value: u8) -> Self {
        let sleep_type = value >> 2 & 7;
        match (value & 1 << 5 != 0, sleep_type) {
            (false, _) => Self::Nothing,
            (true, SLEEP_TYPE_S5) => Self::PowerOff,
            (true, sleep_type) => Self::Unknown { sleep_type },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_s5_with_the_enable_bit_switches_off() {
        assert_eq!(SleepControl::decode(0x34), SleepControl::PowerOff);
        assert_eq!(SleepControl::decode(0x14), SleepControl::Nothing);
        assert_eq!(SleepControl::decode(0x24), SleepControl::Unknown { sleep_type: 1 });
        assert_eq!(SleepControl::decode(0xFF), SleepControl::Unknown { sleep_type: 7 });
    }
}
