//! A model virtio device: production's registers, activator thread and worker loop, over a device type that does
//! what the model says. Rings are real ones in a small guest memory; the checker does not see into them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use devices::bus::Written;
use devices::virtio::testing::{Activating, Buffers, Driver, TestDevice, Working};
use devices::virtio::{Activator, Area, Features, Half, QueueRegisters, RegisterParts, Registers};
use vcpu_state::{Deadline, Group, Kick, Outcome, Quiesced, Ticket};

use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::vcpu::Handled;

/// Descriptors of each queue.
const SIZE: u16 = 2;

/// The device, as the model's main thread holds it.
pub struct Device {
    /// Those who wait for tickets.
    pub vcpus: Arc<Group>,
    /// What the device's code has seen.
    pub device: Arc<TestDevice>,
    /// Its registers.
    pub registers: Arc<Registers>,
    /// A driver for each of its queues.
    pub drivers: Vec<Driver>,
    /// The activator's handle.
    pub activator: Activator,
    thread: thread::JoinHandle<()>,
}

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _: usize) {}
}

impl Device {
    /// A device that `vcpus` drive, negotiated up to DRIVER_OK, with `enabled` of its `queues` enabled.
    ///
    /// # Panics
    /// The host has no file descriptor left.
    pub fn new(vcpus: &Arc<Group>, working: Working, queues: usize, enabled: usize) -> Self {
        let (activator, body) = Activator::new(vcpus, queues);
        let device = Arc::new(TestDevice::new(queues, SIZE, working));
        // A device without queues has a memory, too.
        let drivers = Driver::queues(u16::try_from(queues.max(1)).unwrap_or(1), SIZE);
        let parts = RegisterParts {
            device: Arc::clone(&device) as _,
            memory: drivers[0].memory.clone(),
            interrupt: Arc::clone(&drivers[0].interrupts) as _,
        };
        let registers = match Registers::new(parts, &activator) {
            Ok(registers) => registers,
            Err(error) => panic!("no registers: {error}"),
        };
        negotiate(&registers);
        let mut drivers = drivers;
        for (driver, queue) in drivers.iter_mut().zip(registers.queues()).take(enabled) {
            set_up(driver, queue);
        }
        let thread = thread::spawn(|| body.run());
        Self { vcpus: Arc::clone(vcpus), device, registers, drivers, activator, thread }
    }

    /// The driver of a queue says where its ring is, and enables it.
    pub fn set_up(&mut self, queue: usize) {
        set_up(&mut self.drivers[queue], &self.registers.queues()[queue]);
    }

    /// One that has been activated, driven by the main thread.
    ///
    /// # Panics
    /// It cannot be activated.
    pub fn active(working: Working, queues: usize, enabled: usize) -> Self {
        let device = Self::new(&Group::new(1, Box::new(NoKick)), working, queues, enabled);
        assert_eq!(device.write_status(15), Outcome::Done);
        device
    }

    /// What a vCPU's exit handler does that writes the status register.
    pub fn status_handler(&self, value: u8) -> impl FnOnce() -> Handled + Send + 'static {
        let registers = Arc::clone(&self.registers);
        move || handled(registers.write_status(value))
    }

    /// Writes the status register, and waits as a thread does that is no vCPU.
    pub fn write_status(&self, value: u8) -> Outcome {
        match self.registers.write_status(value) {
            Written::Done => Outcome::Done,
            Written::Wait(ticket) => self.wait(&ticket),
        }
    }

    /// Waits for a ticket.
    ///
    /// # Panics
    /// Never: there is no deadline.
    pub fn wait(&self, ticket: &Ticket) -> Outcome {
        match self.vcpus.wait_ticket(ticket, Deadline::Never) {
            Ok(outcome) => outcome,
            Err(error) => panic!("a wait without a deadline failed: {error}"),
        }
    }

    /// The next activation waits until the word that this returns has been advanced.
    pub fn gate(&self) -> Arc<FutexWord> {
        let gate = Arc::new(FutexWord::new(0));
        self.device.then(Activating::Slowly(Arc::clone(&gate)));
        gate
    }

    /// The driver of a queue makes a request available, and rings.
    pub fn send(&mut self, queue: usize) {
        self.drivers[queue].send(&Buffers { readable: vec![b"x"], writable: vec![] });
    }

    /// Waits until so many requests have been given back.
    pub fn await_served(&self, count: u32) {
        await_at_least(&self.device.seen.served, count);
    }

    /// Pauses the workers and checks that they stand still.
    ///
    /// # Panics
    /// They do not.
    pub fn pause(&self) -> Quiesced {
        match self.activator.workers().pause(Deadline::Never) {
            Ok(quiesced) => {
                self.assert_still();
                quiesced
            }
            Err(error) => panic!("a pause without a deadline failed: {error}"),
        }
    }

    /// Checks that no worker works, and that nothing is in flight. The caller holds them.
    ///
    /// # Panics
    /// One does, or something is.
    pub fn assert_still(&self) {
        let seen = &self.device.seen;
        assert!(seen.busy.load(Ordering::SeqCst) == 0, "a worker works while it is paused");
        let in_flight = seen.in_flight.load(Ordering::SeqCst);
        assert!(in_flight == 0, "a request is in flight while its worker is paused");
    }

    /// Workers that have not let go of guest memory.
    pub fn workers(&self) -> u64 {
        self.device.seen.workers.load(Ordering::SeqCst)
    }

    /// Ends the activator, and with it the workers: the end of a model.
    ///
    /// # Panics
    /// One of them is left.
    pub fn end(self) {
        self.activator.stop();
        join(self.thread);
        let left = self.device.seen.workers.load(Ordering::SeqCst);
        assert_eq!(left, 0, "a worker is left");
    }
}

/// What a driver does to have its queue enabled.
fn set_up(driver: &mut Driver, queue: &QueueRegisters) {
    driver.doorbell = Arc::clone(queue.doorbell());
    for (area, gpa) in [
        (Area::Descriptors, driver.descriptors()),
        (Area::Driver, driver.available_ring()),
        (Area::Device, driver.used_ring()),
    ] {
        let low = u32::try_from(gpa.0).unwrap_or_default();
        queue.set_address_half(area, Half::Low, low);
    }
    queue.enable();
}

/// What the vCPU loop is told.
pub fn handled(written: Written) -> Handled {
    match written {
        Written::Done => Handled::Done,
        Written::Wait(ticket) => Handled::Wait(ticket),
    }
}

/// Everything before DRIVER_OK but the queues.
///
/// # Panics
/// A status that takes no time leaves a ticket.
pub fn negotiate(registers: &Registers) {
    assert!(matches!(registers.write_status(3), Written::Done));
    let accepted = Features::VERSION_1 | Features::RING_RESET;
    registers.accept(1, u32::try_from(accepted >> 32).unwrap_or_default());
    assert!(matches!(registers.write_status(11), Written::Done));
}
