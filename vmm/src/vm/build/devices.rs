//! Attaching the legacy devices: serial ports, clock, keyboard controller, power registers.

use ::devices::acpi_pm::AcpiPm;
use ::devices::bus::{AddressRange, BusDevice, Pio};
use ::devices::console::HostConsole;
use ::devices::debug_port::DebugPort;
use ::devices::i8042::I8042;
use ::devices::power::PowerSink;
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

/// Publishes every device on the port bus; those that the ACPI tables have to tell of.
pub(super) fn attach(
    vm: &VmFd,
    machine: &Machine,
    consoles: &Consoles,
) -> Result<Vec<LegacyDevice>, BuildError> {
    let power: Arc<dyn PowerSink> = Arc::clone(&machine.power) as _;
    let mut counted: Vec<Counted> = Vec::new();
    let mut present = vec![LegacyDevice::Rtc];

    let rtc = Arc::new(Rtc::new(memory_sizes(&machine.ram)));
    publish(machine, "the CMOS clock", Rtc::PORTS, rtc)?;
    let i8042 = Arc::new(I8042::new(Arc::clone(&power)));
    publish(machine, "the keyboard controller", I8042::PORTS, i8042)?;
    publish(machine, "the power registers", AcpiPm::PORTS, Arc::new(AcpiPm::new(power)))?;
    let debug = Arc::new(DebugPort::default());
    publish(machine, "the debug port", DebugPort::PORTS, debug)?;

    for (port, host) in [(&COM1, &consoles.serial), (&COM2, &consoles.console)] {
        if let Some(host) = host {
            let serial = attach_serial(vm, machine, port, host)?;
            counted.push((port.counters.to_owned(), serial));
            present.push(port.device);
        }
    }
    machine.devices.store(Arc::new(counted));
    Ok(present)
}

struct Port {
    name: &'static str,
    counters: &'static str,
    ports: AddressRange<Pio>,
    gsi: u32,
    device: LegacyDevice,
}

const COM1: Port = Port {
    name: "the first serial port",
    counters: "com1",
    ports: Serial::COM1,
    gsi: Serial::COM1_IRQ,
    device: LegacyDevice::Com1,
};

const COM2: Port = Port {
    name: "the second serial port",
    counters: "com2",
    ports: Serial::COM2,
    gsi: Serial::COM2_IRQ,
    device: LegacyDevice::Com2,
};

fn attach_serial(
    vm: &VmFd,
    machine: &Machine,
    port: &Port,
    host: &HostConsole,
) -> Result<Arc<Serial>, BuildError> {
    let line = IrqLine::new(vm, port.name, port.gsi)?;
    let serial = Arc::new(Serial::new(Box::new(line), Arc::clone(host.port()) as _));
    publish(machine, port.name, port.ports, Arc::clone(&serial))?;
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
