//! Devices whose machine is saved in the middle of whatever they do, and goes on as another: nothing is lost, doubled or spoiled.
//!
//! A [`Machine`] has one device on a PCI bus, with a driver that looks at a used ring only when it has been interrupted for it. A move
//! takes what was saved as bytes and a copy of memory into a new machine with a new device, and forgets every interrupt and doorbell
//! that was under way.

mod block;
mod console;
mod damaged;
mod net;
mod owed;
mod plain;
mod vsock;

use std::sync::Arc;
use std::thread;

use vcpu_state::{Deadline, Group, Quiesced};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend as _, GuestMemoryRegion as _};

use crate::bus::Written;
use crate::memory::GuestMemory;
use crate::pci::testing::{Bed as PciBed, NoKick};
use crate::pci::{BarIndex, PciAttendant, PciFunction, Slot};
use crate::virtio::lifecycle::State;
use crate::virtio::testing::Driver;
use crate::virtio::{Activator, Features, SavedVirtioPci, VirtioDevice, VirtioPci};

const BAR: BarIndex = BarIndex(0);
const STATUS: u64 = 0x14;
/// Looks for an interrupt that are enough: one that has not come by then does not come.
const ENOUGH: u64 = 1 << 22;

/// A machine with one device.
struct Machine {
    vcpus: Arc<Group>,
    activator: Activator,
    thread: Option<thread::JoinHandle<()>>,
    pci: PciBed,
    attendant: PciAttendant,
    slot: Slot,
    function: Arc<VirtioPci>,
    drivers: Vec<Driver>,
}

impl Machine {
    fn new(device: Arc<dyn VirtioDevice>, mut drivers: Vec<Driver>) -> Self {
        let vcpus = Group::new(1, Box::new(NoKick));
        let (activator, thread) = Activator::new(&vcpus, 8);
        let thread = Some(thread::spawn(|| thread.run()));
        let (pci, attendant) = PciBed::new().unwrap();
        let memory = drivers[0].memory.clone();
        let work = pci.segment.work();
        let function = VirtioPci::new(device, memory, &activator, &*pci.platform, work).unwrap();
        let function = Arc::new(function);
        let slot = pci.segment.insert(&(Arc::clone(&function) as Arc<dyn PciFunction>)).unwrap();
        for (driver, queue) in drivers.iter_mut().zip(function.registers().queues()) {
            driver.doorbell = Arc::clone(queue.doorbell());
        }
        let mut new = Self { vcpus, activator, thread, pci, attendant, slot, function, drivers };
        new.settle();
        new
    }

    /// Rounds of the PCI attendant, as long as there is something to do.
    fn settle(&mut self) {
        while self.attendant.round() {}
    }

    fn write(&self, offset: u64, len: usize, value: u64) {
        self.wait(&self.function.write_bar(BAR, offset, &value.to_le_bytes()[..len]));
    }

    fn wait(&self, written: &Written) {
        if let Written::Wait(ticket) = written {
            self.vcpus.wait_ticket(ticket, Deadline::Never).unwrap();
        }
    }

    fn read(&self, offset: u64, len: usize) -> u64 {
        let mut data = [0; 8];
        self.function.read_bar(BAR, offset, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    /// A driver's way to DRIVER_OK, which it has not written yet, with a vector for each queue and one for the configuration.
    fn set_up(&mut self, features: u64) {
        self.write(STATUS, 1, 0);
        for vector in 0..=self.drivers.len() as u64 {
            let entry = 0x4000 + 16 * vector;
            for (offset, value) in [(0, 0xFEE0_0000), (4, 0), (8, 0x40 + vector), (12, 0)] {
                // The attendant's rounds come below: nobody waits for these.
                let _ = self.function.write_bar(BAR, entry + offset, &u64::to_le_bytes(value)[..4]);
            }
        }
        drop(self.pci.write_config(self.slot, 4, &[6, 0]));
        let capability = self.msix();
        drop(self.pci.write_config(self.slot, capability + 2, &[0, 0x80]));
        self.settle();
        for status in [1, 3] {
            self.write(STATUS, 1, status);
        }
        for half in [0, 1] {
            self.write(0x08, 4, half);
            self.write(0x0c, 4, (features | Features::VERSION_1) >> (32 * half) & 0xFFFF_FFFF);
        }
        self.write(STATUS, 1, 11);
        assert_eq!(self.read(STATUS, 1), 11, "the features are agreed on");
        self.write(0x10, 2, 0);
        for queue in 0..self.drivers.len() {
            self.enable(queue);
        }
    }

    /// Sets a queue up, and enables it.
    fn enable(&self, queue: usize) {
        let driver = &self.drivers[queue];
        self.write(0x16, 2, queue as u64);
        self.write(0x18, 2, driver.size().into());
        self.write(0x1a, 2, queue as u64 + 1);
        let areas = [
            (0x20, driver.descriptors()),
            (0x28, driver.available_ring()),
            (0x30, driver.used_ring()),
        ];
        for (field, gpa) in areas {
            self.write(field, 8, gpa.0);
        }
        self.write(0x1c, 2, 1);
    }

    fn start(&mut self, features: u64) {
        self.set_up(features);
        self.write(STATUS, 1, 15);
        assert_eq!(self.state(), State::Active);
    }

    fn state(&self) -> State {
        self.function.registers().word().state()
    }

    fn msix(&self) -> u16 {
        let config = |at| self.pci.read_config(self.slot, at);
        let mut at = config(0x34) & 0xFF;
        while config(u16::try_from(at).unwrap()) & 0xFF != 0x11 {
            at = config(u16::try_from(at).unwrap()) >> 8 & 0xFF;
        }
        u16::try_from(at).unwrap()
    }

    /// Whether a vector has interrupted since the last look.
    fn interrupted(&self, vector: usize) -> bool {
        !self.pci.platform.lines()[vector].raised().is_empty()
    }

    /// Waits for a queue's interrupt.
    fn await_interrupt(&self, queue: usize) {
        let came = (0..ENOUGH).any(|_| {
            thread::yield_now();
            self.interrupted(queue + 1)
        });
        assert!(came, "queue {queue} is never interrupted: {:?}", self.function.registers().word());
    }

    /// Takes a request that came back, as a driver does that sleeps if there is none.
    fn take(&mut self, queue: usize) -> Option<(u16, u32)> {
        let driver = &mut self.drivers[queue];
        driver.used().or_else(|| {
            driver.arm();
            driver.used()
        })
    }

    /// Sleeps until a request comes back.
    fn await_used(&mut self, queue: usize) -> (u16, u32) {
        loop {
            if let Some(used) = self.take(queue) {
                return used;
            }
            self.await_interrupt(queue);
        }
    }

    fn await_state(&self, state: State) {
        let came = (0..ENOUGH).any(|_| {
            thread::yield_now();
            self.state() == state
        });
        assert!(came, "{:?}", self.function.registers().word());
    }

    fn pause(&self) -> Quiesced {
        self.activator.workers().pause(Deadline::Never).unwrap()
    }

    /// What it is as bytes, while it stands still.
    fn save(&self) -> Vec<u8> {
        postcard::to_stdvec(&self.function.save()).unwrap()
    }

    /// Ends it; what its driver knows, with a copy of memory.
    fn end(mut self) -> Vec<Driver> {
        let mut drivers = std::mem::take(&mut self.drivers);
        let memory = copy(&drivers[0].memory);
        for driver in &mut drivers {
            driver.memory = memory.clone();
        }
        drivers
    }

    /// Goes on in another machine. `with` stands between the end of the first one's device and the second's, which it makes.
    fn moved(self, with: impl FnOnce() -> Arc<dyn VirtioDevice>) -> Self {
        let still = self.pause();
        let saved = self.save();
        let drivers = self.end();
        drop(still);
        Self::restored(&saved, with(), drivers)
    }

    /// The machine that was saved.
    fn restored(saved: &[u8], device: Arc<dyn VirtioDevice>, drivers: Vec<Driver>) -> Self {
        let saved: SavedVirtioPci = postcard::from_bytes(saved).unwrap();
        let mut new = Self::new(device, drivers);
        let held = new.pause();
        new.function.restore(&saved).unwrap();
        assert_eq!(new.function.save().registers, saved.registers, "it is what was saved");
        drop(new.pci.segment.work().request());
        new.settle();
        drop(held);
        new
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.activator.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Other memory with the same contents.
fn copy(memory: &GuestMemory) -> GuestMemory {
    let regions =
        memory.iter().map(|region| (region.start_addr(), usize::try_from(region.len()).unwrap()));
    let regions: Vec<(GuestAddress, usize)> = regions.collect();
    let new = crate::memory::anonymous(&regions).unwrap();
    for (gpa, len) in regions {
        let mut bytes = vec![0; len];
        memory.read_slice(&mut bytes, gpa).unwrap();
        new.write_slice(&bytes, gpa).unwrap();
    }
    new
}
