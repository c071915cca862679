//! Production's power registers and what they ask, for the vCPUs of a bed: the registers of `devices`, the requests of `vmm`.
//!
//! `vmm` is built for the checker as it is; only its phase, an `atomic_enum`, has the checker's atomics in place of its own.

use std::sync::Arc;

use devices::acpi_pm::AcpiPm;
use devices::bus::BusDevice;
use devices::power::PowerSink;
use vcpu_state::{Completer, Group, Ticket};
use vmm::vm::{Bell, PowerRequests};

use crate::checker::{FutexWord, await_at_least};
use crate::vcpu::Handled;

/// What a guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The reset register.
    Reset,
    /// The sleep control register, for S5.
    PowerOff,
}

/// The registers, and what they lead to.
pub struct Power {
    /// What has been asked.
    pub requests: Arc<PowerRequests>,
    registers: Arc<AcpiPm>,
    rung: Arc<FutexWord>,
    /// Done when the VM is gone.
    _taken: Completer,
}

struct Ring(Arc<FutexWord>);

impl Bell for Ring {
    fn ring(&self) {
        self.0.advance();
    }
}

impl Power {
    /// Of a VM with these vCPUs.
    pub fn new(vcpus: &Arc<Group>) -> Self {
        let rung = Arc::new(FutexWord::new(0));
        let (ticket, taken) = Ticket::new(vcpus);
        let requests = Arc::new(PowerRequests::new(ticket, Arc::new(Ring(Arc::clone(&rung)))));
        let registers = Arc::new(AcpiPm::new(Arc::clone(&requests) as Arc<dyn PowerSink>));
        Self { requests, registers, rung, _taken: taken }
    }

    /// What a vCPU does at the exit of such a write: production's registers, and then what the run loop does.
    pub fn handler(&self, way: Way) -> impl FnOnce() -> Handled + Send + 'static {
        let (registers, requests) = (Arc::clone(&self.registers), Arc::clone(&self.requests));
        move || {
            let (offset, value) = match way {
                Way::Reset => (2, 0x01),
                Way::PowerOff => (0, 0x34),
            };
            drop(registers.write(offset, &[value]));
            requests.ticket().map_or(Handled::Done, Handled::Wait)
        }
    }

    /// Waits until something has been asked.
    pub fn await_request(&self) {
        await_at_least(&self.rung, 1);
    }
}
