//! Attaching the legacy devices: serial port, clock, keyboard controller, power registers, panic port.

use ::devices::acpi_pm::AcpiPm;
use ::devices::bus::{AddressRange, BusDevice, Pio};
use ::devices::console::HostConsole;
use ::devices::debug_port::DebugPort;
use ::devices::i8042::I8042;
use ::devices::power::PowerSink;
use ::devices::pvpanic::PvPanic;
use ::devices::rtc::{MemorySizes, Rtc};
use ::devices::serial::Serial;
use kvm_ioctls::VmFd;
use vcpu_state::sync::Arc;

use super::BuildError;
use super::irq::IrqLine;
use crate::acpi::LegacyDevice;
use crate::consoles::Consoles;
use crate::memory::GuestRam;
use crate::vm::Machine;
use crate::vm::machine::Counted;

/// Those that have something to be saved. (The keyboard controller, the power registers and the panic port have nothing: what they are
/// told they pass on at once.)
pub(in crate::vm) struct Legacy {
    pub(in crate::vm) rtc: Arc<Rtc>,
    pub(in crate::vm) debug: Arc<DebugPort>,
    pub(in crate::vm) serial: Option<Arc<Serial>>,
}

/// Which of them a VM has is its configuration's to say.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// Whether there is a port through which the guest's kernel says that it has crashed.
    pub(super) pvpanic: bool,
}

/// Publishes every device on the port bus. Gives those that the ACPI tables have to tell of, and those that have a state.
pub(super) fn attach(
    vm: &VmFd,
    machine: &Machine,
    consoles: &Consoles,
    options: Options,
) -> Result<(Vec<LegacyDevice>, Legacy), BuildError> {
    let power: Arc<dyn PowerSink> = Arc::clone(&machine.power) as _;
    let mut counted: Vec<Counted> = Vec::new();
    let mut present = vec![LegacyDevice::Rtc];

    let rtc = Arc::new(Rtc::new(memory_sizes(&machine.ram)));
    publish(machine, "the CMOS clock", Rtc::PORTS, Arc::clone(&rtc))?;
    let i8042 = Arc::new(I8042::new(Arc::clone(&power)));
    publish(machine, "the keyboard controller", I8042::PORTS, i8042)?;
    publish(machine, "the power registers", AcpiPm::PORTS, Arc::new(AcpiPm::new(power)))?;
    let debug = Arc::new(DebugPort::default());
    publish(machine, "the debug port", DebugPort::PORTS, Arc::clone(&debug))?;
    let mut legacy = Legacy { rtc, debug, serial: None };

    if let Some(host) = &consoles.serial {
        let serial = attach_serial(vm, machine, host)?;
        counted.push(("com1".to_owned(), Arc::clone(&serial) as _));
        legacy.serial = Some(serial);
        present.push(LegacyDevice::Com1);
    }
    if options.pvpanic {
        let port = Arc::new(PvPanic::new(Arc::clone(&machine.power) as _));
        publish(machine, "the panic port", PvPanic::PORTS, Arc::clone(&port))?;
        counted.push(("pvpanic".to_owned(), port));
        present.push(LegacyDevice::PvPanic);
    }
    machine.devices.store(Arc::new(counted));
    Ok((present, legacy))
}

const SERIAL: &str = "the serial port";

fn attach_serial(
    vm: &VmFd,
    machine: &Machine,
    host: &HostConsole,
) -> Result<Arc<Serial>, BuildError> {
    let line = IrqLine::new(vm, SERIAL, Serial::COM1_IRQ)?;
    let serial = Arc::new(Serial::new(Box::new(line), Arc::clone(host.port()) as _));
    publish(machine, SERIAL, Serial::COM1, Arc::clone(&serial))?;
    // Last: input finds a device that the guest can see.
    host.port().attach(&serial);
    Ok(serial)
}

fn publish<D: BusDevice + 'static>(
    machine: &Machine,
    device: &'static str,
    ports: AddressRange<Pio>,
    registers: Arc<D>,
) -> Result<(), BuildError> {
    let failed =
        |error: ::devices::bus::BusError| BuildError::Device { device, reason: error.to_string() };
    machine.pio.publish(ports, registers).map_err(failed)
}

fn memory_sizes(ram: &GuestRam) -> MemorySizes {
    MemorySizes { below_4g: ram.low_size(), above_4g: ram.size() - ram.low_size() }
}
