//! Devices put in front of the VM's own, to see or to hold what a vCPU does to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use devices::bus::{AddressRange, BusDevice, Pio, Written};
use devices::debug_port::DebugPort;
use devices::serial::Serial;
use stillpoint_guest::layout::{UART, UART_SCRATCH};

use super::TestVm;

/// Counts accesses and hands them on.
struct Counting {
    inner: Arc<dyn BusDevice>,
    /// Which accesses count: those at this offset.
    offset: u64,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl BusDevice for Counting {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        if offset == self.offset {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        if offset == self.offset {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.write(offset, data)
    }
}

/// Counts the accesses of the PIO storm, and nothing else.
pub struct StormProbe {
    debug: Arc<Counting>,
    uart: Arc<Counting>,
}

impl StormProbe {
    /// To be put in while no storm runs.
    pub fn attach(vm: &TestVm) -> Self {
        let offset = u64::from(UART_SCRATCH - UART);
        Self {
            debug: put_before(vm, DebugPort::PORTS, 0),
            uart: put_before(vm, Serial::COM1, offset),
        }
    }

    /// Writes to the debug port and reads of the scratch register so far.
    pub fn accesses(&self) -> u64 {
        self.debug.writes.load(Ordering::SeqCst) + self.uart.reads.load(Ordering::SeqCst)
    }
}

fn put_before(vm: &TestVm, range: AddressRange<Pio>, offset: u64) -> Arc<Counting> {
    let machine = vm.machine();
    let inner = machine.pio.retire(range).unwrap();
    let counting =
        Arc::new(Counting { inner, offset, reads: AtomicU64::new(0), writes: AtomicU64::new(0) });
    machine.pio.publish(range, Arc::clone(&counting) as _).unwrap();
    counting
}

/// Holds a vCPU inside a write until something is true, then hands the write on.
struct Held<F> {
    inner: Arc<dyn BusDevice>,
    so: F,
    arrived: Arc<AtomicBool>,
}

impl<F: Fn() -> bool + Send + Sync> BusDevice for Held<F> {
    fn name(&self) -> &'static str {
        "held"
    }

    fn read(&self, offset: u64, data: &mut [u8]) {
        self.inner.read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Written {
        self.arrived.store(true, Ordering::SeqCst);
        super::until("what holds a register write", &self.so, String::new);
        self.inner.write(offset, data)
    }
}

/// Lets writes to this device take effect only once `so` is true, and tells through `arrived` that
/// one waits.
pub fn hold_writes(
    vm: &TestVm,
    range: AddressRange<Pio>,
    arrived: &Arc<AtomicBool>,
    so: impl Fn() -> bool + Send + Sync + 'static,
) {
    let machine = vm.machine();
    let inner = machine.pio.retire(range).unwrap();
    machine.pio.publish(range, Arc::new(Held { inner, so, arrived: Arc::clone(arrived) })).unwrap();
}
