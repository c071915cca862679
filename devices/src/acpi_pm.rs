//! Power control of an ACPI hardware-reduced platform: sleep control, sleep status and reset,
//! three byte-wide ports.
//!
//! | port | register | read | write |
//! |---|---|---|---|
//! | 0x600 | sleep control | 0 | 0x34: power off; 0x01: reset |
//! | 0x601 | sleep status | 0, never woken | ignored (it only clears WAK_STS) |
//! | 0x602 | reset | 0 | 0x01: reset |
//!
//! ACPI 6.5, 4.8.3.7 (sleep control and status registers) and 4.8.3.6 (reset register). That the
//! first port resets as well is a convenience for guests without an ACPI interpreter.
use std::sync::Arc;

use crate::bus::{AddressRange, ByteRegisters, Pio};
use crate::counters::CounterSource;
use crate::power::{PowerRequest, PowerSink};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Port of the sleep control register, for the FADT's `SLEEP_CONTROL_REG`.
pub const SLEEP_CONTROL: u16 = 0x600;
/// Port of the sleep status register, for the FADT's `SLEEP_STATUS_REG`.
pub const SLEEP_STATUS: u16 = 0x601;
/// Port of the reset register, for the FADT's `RESET_REG`.
pub const RESET: u16 = 0x602;
/// What resets the machine when it is written to [`RESET`], for the FADT's `RESET_VALUE`.
pub const RESET_VALUE: u8 = 0x01;
/// `SLP_TYP` of the soft-off state, for the `\_S5` package.
pub const S5_SLEEP_TYPE: u8 = 5;

/// Sleep control: `SLP_TYP` is in bits 2 to 4, and setting bit 5 enters that state.
const POWER_OFF: u8 = S5_SLEEP_TYPE << 2 | 1 << 5;

/// The three power registers.
pub struct AcpiPm {
    power: Arc<dyn PowerSink>,
    shutdowns: AtomicU64,
    resets: AtomicU64,
    ignored: AtomicU64,
}

impl AcpiPm {
    /// Where it answers.
    pub const PORTS: AddressRange<Pio> = AddressRange::constant(SLEEP_CONTROL as u64, 3);

    /// Registers that pass requests to `power`.
    pub fn new(power: Arc<dyn PowerSink>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { power, shutdowns: zero(), resets: zero(), ignored: zero() }
    }
}

impl ByteRegisters for AcpiPm {
    const NAME: &'static str = "acpi-pm";

    fn read_register(&self, _offset: u64) -> u8 {
        0
    }

    fn write_register(&self, offset: u64, value: u8) {
        // Within `PORTS`, so the sum is a port; anything else would only be ignored.
        let port = u64::from(SLEEP_CONTROL) + offset;
        let (count, request) = if port == u64::from(SLEEP_CONTROL) && value == POWER_OFF {
            (&self.shutdowns, Some(PowerRequest::Shutdown))
        } else if port != u64::from(SLEEP_STATUS) && value == RESET_VALUE {
            (&self.resets, Some(PowerRequest::Reset))
        } else {
            (&self.ignored, None)
        };
        // Relaxed: statistics.
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(request) = request {
            self.power.request(request);
        }
    }
}

impl CounterSource for AcpiPm {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("shutdowns", self.shutdowns.load(Ordering::Relaxed)),
            ("resets", self.resets.load(Ordering::Relaxed)),
            ("ignored_writes", self.ignored.load(Ordering::Relaxed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;
    use crate::power::testing::Requests;

    #[test]
    fn every_value_on_every_port() {
        for (port, shutdowns, resets) in
            [(SLEEP_CONTROL, 1, 1), (SLEEP_STATUS, 0, 0), (RESET, 0, 1)]
        {
            let power = Arc::new(Requests::default());
            let device = Arc::new(AcpiPm::new(power.clone()));
            let bus = Bus::<Pio>::new();
            bus.publish(AcpiPm::PORTS, device.clone()).unwrap();
            for value in 0..=u8::MAX {
                bus.write(port.into(), &[value], |_| panic!("nothing to wait for"));
            }
            assert_eq!(power.seen(), (shutdowns, resets), "port {port:#x}");
            let ignored = 256 - shutdowns - resets;
            let expected =
                [("shutdowns", shutdowns), ("resets", resets), ("ignored_writes", ignored)];
            assert_eq!(device.counters(), expected);
            let mut data = [0xAA];
            bus.read(port.into(), &mut data);
            assert_eq!(data, [0]);
        }
        assert_eq!(POWER_OFF, 0x34);
    }
}
