//! Saved state of any device, damaged or made up, given to the devices of a machine. Nothing panics; what is refused has changed
//! nothing; what is taken is what the device says when it is saved again; a virtio device, whatever it has become, stands still when it is
//! told to and is as new after a reset.
#![no_main]
use std::fmt::Debug;
use std::sync::Arc;
use std::thread;

use arbitrary::Arbitrary;
use devices::Unfit;
use devices::bus::Written;
use devices::console::{ConsoleInput, ConsoleOutput};
use devices::cpu_hotplug::{CpuHotplugController, EjectedSink};
use devices::ged::Ged;
use devices::interrupt::Interrupt;
use devices::pci::testing::{Bed, NoKick};
use devices::pci::{BarIndex, Occupied, PciFunction, Place, Slot};
use devices::rtc::{MemorySizes, Rtc};
use devices::serial::Serial;
use devices::virtio::balloon::{Balloon, BalloonOptions, PageReturn};
use devices::virtio::console::VirtioConsole;
use devices::virtio::lifecycle::State;
use devices::virtio::mem::{BLOCK_SIZE, MemDevice, MemHost, MemOptions};
use devices::virtio::rng::Rng;
use devices::virtio::testing::{TestDevice, Working};
use devices::virtio::{Activator, VirtioDevice, VirtioPci};
use devices::watchdog::{Past, Watchdog, WatchdogSink};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vcpu_state::{Deadline, Group};
use vm_memory::GuestAddress;

const BAR: BarIndex = BarIndex(0);
const RAM: usize = 0x4000;

#[derive(Debug, Arbitrary)]
enum Which {
    Serial,
    Rtc,
    Ged(u32),
    CpuHotplug,
    Watchdog,
    Virtio(Virtio),
    Places(Vec<(u8, bool)>),
}

#[derive(Debug, Arbitrary)]
enum Virtio {
    Test { started: bool },
    Rng,
    Console,
    Balloon,
    Mem,
}

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    which: Which,
    /// Instead of what a device of that kind says.
    whole: Option<&'a [u8]>,
    changes: Vec<(u16, u8)>,
    cut: Option<u16>,
}

struct Nobody;

impl Interrupt for Nobody {
    fn raise(&self) {}
}

impl ConsoleOutput for Nobody {
    fn send(&self, _: u8) {}
    fn input_has_room(&self) {}
}

impl EjectedSink for Nobody {
    fn ejected(&self) {}
}

impl WatchdogSink for Nobody {
    fn expired(&self) {}
}

impl PageReturn for Nobody {
    fn discard(&self, _: GuestAddress, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

impl MemHost for Nobody {
    fn plug(&self, _: GuestAddress, _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn unplug(&self, _: GuestAddress, _: u64) -> std::io::Result<()> {
        Ok(())
    }
}

impl Input<'_> {
    /// What is to be restored, where it should have been `good`.
    fn damaged<T: Serialize + DeserializeOwned>(&self, good: &T) -> Option<T> {
        let mut bytes = match self.whole {
            Some(bytes) => bytes.to_vec(),
            None => postcard::to_stdvec(good).expect("saved state can be encoded"),
        };
        for (place, byte) in &self.changes {
            if let Some(there) = bytes.get_mut(usize::from(*place)) {
                *there = *byte;
            }
        }
        bytes.truncate(self.cut.map_or(usize::MAX, usize::from));
        postcard::from_bytes(&bytes).ok()
    }

    /// Restores it, with what holds of every device.
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        &self,
        save: impl Fn() -> T,
        restore: impl FnOnce(&T) -> Result<(), Unfit>,
    ) {
        let before = save();
        let Some(saved) = self.damaged(&before) else { return };
        match restore(&saved) {
            Ok(()) => assert_eq!(save(), saved),
            Err(_) => assert_eq!(save(), before),
        }
    }
}

/// All that a driver writes up to DRIVER_OK, with rings in RAM.
fn start(function: &VirtioPci, vcpus: &Group) {
    let write = |offset, data: &[u8]| wait(&function.write_bar(BAR, offset, data), vcpus);
    write(0x14, &[3]);
    write(0x08, &[1, 0, 0, 0]);
    write(0x0c, &[1, 1, 0, 0]);
    write(0x14, &[11]);
    write(0x16, &[0, 0]);
    write(0x18, &[8, 0]);
    for (field, gpa) in [(0x20, 0_u32), (0x28, 0x1000), (0x30, 0x2000)] {
        write(field, &gpa.to_le_bytes());
    }
    write(0x1c, &[1, 0]);
    write(0x14, &[15]);
}

fn wait(written: &Written, vcpus: &Group) {
    if let Written::Wait(ticket) = written {
        vcpus.wait_ticket(ticket, Deadline::Never).expect("there is no deadline");
    }
}

fn virtio(input: &Input<'_>, kind: &Virtio) {
    let device = || -> Arc<dyn VirtioDevice> {
        match kind {
            Virtio::Test { .. } => Arc::new(TestDevice::new(2, 8, Working::Serves)),
            Virtio::Rng => Arc::new(Rng::open("rng", "/dev/zero".as_ref()).expect("a device")),
            Virtio::Console => {
                let console = VirtioConsole::new("con", Arc::new(Nobody)).expect("a console");
                console.offer(b"typed");
                Arc::new(console)
            }
            Virtio::Balloon => {
                let options = BalloonOptions::default();
                let balloon = Balloon::new("balloon".into(), options, Arc::new(Nobody));
                Arc::new(balloon.expect("a balloon"))
            }
            Virtio::Mem => {
                let gpa = GuestAddress(1 << 32);
                let size = 70 * BLOCK_SIZE;
                let options = MemOptions { gpa, size, requested: 0, proximity_domain: 0 };
                let memory = MemDevice::new("mem".into(), options).expect("a memory device");
                memory.start(Arc::new(Nobody));
                Arc::new(memory)
            }
        }
    };
    let vcpus = Group::new(0, Box::new(NoKick));
    let (activator, body) = Activator::new(&vcpus, 4);
    let thread = thread::spawn(|| body.run());
    let (bed, mut attendant) = Bed::new().expect("a bus");
    let memory = devices::memory::anonymous(&[(GuestAddress(0), RAM)]).expect("guest memory");
    let make = || {
        let (memory, work) = (memory.clone(), bed.segment.work());
        let made = VirtioPci::new(device(), memory, &activator, &*bed.platform, work);
        Arc::new(made.expect("a function"))
    };
    let good = make();
    if matches!(kind, Virtio::Test { started: true }) {
        start(&good, &vcpus);
    }
    let still = activator.workers().pause(Deadline::Never).expect("no deadline");
    let good = good.save();
    let function = make();
    bed.segment.insert(&(Arc::clone(&function) as Arc<dyn PciFunction>)).expect("a slot");
    if let Some(saved) = input.damaged(&good) {
        let before = function.save();
        let fits = bed.segment.check_bars(&*function, &saved.config).is_ok();
        match function.restore(&saved) {
            Ok(()) => {
                let again = function.save();
                assert_eq!(again.msix, saved.msix);
                assert_eq!(again.registers.word, saved.registers.word);
                assert_eq!(again.interrupts.queue_vectors, saved.interrupts.queue_vectors);
            }
            Err(_) => assert_eq!(function.save(), before),
        }
        if fits {
            drop(bed.segment.work().request());
            while attendant.round() {}
        }
        drop(still);
        drop(activator.workers().pause(Deadline::Never).expect("no deadline"));
        wait(&function.write_bar(BAR, 0x14, &[0]), &vcpus);
        let word = function.registers().word();
        assert_eq!((word.state(), word.status()), (State::Inactive, 0));
    }
    activator.stop();
    thread.join().expect("the activator");
}

fn places(asked: &[(u8, bool)]) {
    let (bed, mut attendant) = Bed::new().expect("a bus");
    let functions: Vec<Arc<dyn PciFunction>> = (0..3)
        .map(|_| Arc::new(Watchdog::new(Past::Other, Arc::new(Nobody)).expect("a function")) as _)
        .collect();
    for function in &functions {
        bed.segment.insert(function).expect("a slot");
    }
    while attendant.round() {}
    let places: Option<Vec<Place>> = asked
        .iter()
        .zip(&functions)
        .map(|((number, fixed), function)| {
            let occupied = if *fixed { Occupied::Fixed } else { Occupied::Present };
            Some(Place { slot: Slot::new(*number)?, function: Arc::clone(function), occupied })
        })
        .collect();
    let Some(places) = places else { return };
    let before = bed.segment.functions();
    let arranged = bed.segment.arrange(&places).is_ok();
    while attendant.round() {}
    if arranged {
        let all =
            places.iter().all(|place| bed.segment.occupied(place.slot) == Some(place.occupied));
        assert!(all && places.len() == functions.len());
    } else {
        assert_eq!(bed.segment.functions(), before);
    }
    assert!(bed.gone().is_empty());
}

fuzz_target!(|input: Input<'_>| {
    match &input.which {
        Which::Serial => {
            let port = Serial::new(Box::new(Nobody), Arc::new(Nobody));
            input.check(|| port.save(), |saved| port.restore(saved));
        }
        Which::Rtc => {
            let clock = Rtc::new(MemorySizes::default());
            input.check(|| clock.save(), |saved| clock.restore(saved));
        }
        Which::Ged(events) => {
            let ged = Ged::new(Box::new(Nobody));
            let restored = ged.restore(*events).is_ok();
            assert_eq!(ged.save(), if restored { *events } else { 0 });
        }
        Which::CpuHotplug => {
            let registers = CpuHotplugController::new(1, 4, Arc::new(Nobody));
            input.check(|| registers.save(), |saved| registers.restore(saved));
        }
        Which::Watchdog => {
            let watchdog = Watchdog::new(Past::Other, Arc::new(Nobody)).expect("a watchdog");
            input.check(|| watchdog.save(), |saved| watchdog.restore(saved));
        }
        Which::Virtio(kind) => virtio(&input, kind),
        Which::Places(asked) => places(asked),
    }
});
