//! A virtio device on PCI under a driver that does anything, through the BAR and through the PCI_CFG window, with rings full
//! of anything: nothing panics, every ticket gets done, every word is one that the protocol can reach, a device
//! that was reset has no worker left, and a pause finds everything still.
#![no_main]
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread;

use arbitrary::Arbitrary;
use devices::bus::Written;
use devices::memory::GuestMemory;
use devices::pci::{BarIndex, PciFunction};
use devices::virtio::lifecycle::State;
use devices::virtio::testing::{Activating, TestDevice, TestPlatform, Working};
use devices::virtio::{Activator, VirtioPci};
use libfuzzer_sys::fuzz_target;
use vcpu_state::sync::FutexWord;
use vcpu_state::{Deadline, Group, Kick, Outcome, WorkItem};
use vm_memory::{Bytes, GuestAddress};

const BAR: BarIndex = BarIndex(0);
const RAM: usize = 0x4000;

#[derive(Debug, Arbitrary)]
enum Op<'a> {
    Read {
        offset: u16,
        len: u8,
    },
    Write {
        offset: u16,
        data: &'a [u8],
    },
    ReadConfig {
        offset: u8,
        len: u8,
    },
    WriteConfig {
        offset: u8,
        data: &'a [u8],
    },
    /// An access through the window.
    Window {
        offset: u16,
        len: u8,
        data: u32,
    },
    /// All that a driver writes up to DRIVER_OK, with rings in RAM.
    Start {
        size: u8,
    },
    /// What the rings say.
    Fill {
        offset: u16,
        data: &'a [u8],
    },
    /// The next activation fails.
    Fail {
        panics: bool,
    },
    Pause,
    Reset,
}

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    holds: bool,
    ops: Vec<Op<'a>>,
}

struct NoKick;

impl Kick for NoKick {
    fn kick(&self, _: usize) {}
}

struct Bed {
    vcpus: Arc<Group>,
    activator: Activator,
    device: Arc<TestDevice>,
    memory: GuestMemory,
    function: VirtioPci,
}

impl Bed {
    fn new(working: Working) -> (Self, thread::JoinHandle<()>) {
        let vcpus = Group::new(0, Box::new(NoKick));
        let (activator, body) = Activator::new(&vcpus, 2);
        let thread = thread::spawn(|| body.run());
        let device = Arc::new(TestDevice::new(2, 8, working));
        let memory = devices::memory::anonymous(&[(GuestAddress(0), RAM)]).expect("guest memory");
        // The work of an attendant that is gone: requests fail at once.
        let (work, _) = WorkItem::new(&vcpus, &Arc::new(FutexWord::new(0)));
        let function = VirtioPci::new(
            Arc::clone(&device) as _,
            memory.clone(),
            &activator,
            &TestPlatform::default(),
            &Arc::new(work),
        );
        let function = function.expect("a device");
        (Self { vcpus, activator, device, memory, function }, thread)
    }

    fn wait(&self, written: &Written) -> Outcome {
        match written {
            Written::Done => Outcome::Done,
            Written::Wait(ticket) => {
                self.vcpus.wait_ticket(ticket, Deadline::Never).expect("there is no deadline")
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.wait(&self.function.write_bar(BAR, offset, data));
    }

    fn write_config(&self, offset: u16, data: &[u8]) {
        self.function.config().write(offset, data);
        self.wait(&self.function.config_written(offset, data));
    }

    fn start(&self, size: u8) {
        self.reset();
        for (field, value) in [(0x14, 3), (0x08, 1)] {
            self.write(field, &[value, 0, 0, 0][..if field == 0x14 { 1 } else { 4 }]);
        }
        self.write(0x0c, &[1, 0, 0, 0]);
        self.write(0x14, &[11]);
        self.write(0x16, &[0, 0]);
        self.write(0x18, &[size, 0]);
        for (field, gpa) in [(0x20, 0_u32), (0x28, 0x1000), (0x30, 0x2000)] {
            self.write(field, &gpa.to_le_bytes());
        }
        self.write(0x1c, &[1, 0]);
        self.write(0x14, &[15]);
    }

    fn reset(&self) {
        self.write(0x14, &[0]);
        assert_eq!(self.function.registers().word().status(), 0);
        assert_eq!(self.device.seen.workers.load(Ordering::SeqCst), 0, "a worker is left");
    }

    fn pause(&self) {
        let paused = self.activator.workers().pause(Deadline::Never).expect("no deadline");
        assert_eq!(self.device.seen.busy.load(Ordering::SeqCst), 0, "a worker works");
        drop(paused);
    }

    fn window(&self) -> u16 {
        static WINDOW: OnceLock<u16> = OnceLock::new();
        *WINDOW.get_or_init(|| {
            let byte = |at| {
                let mut byte = [0];
                self.function.config().read(at, &mut byte);
                byte[0]
            };
            let mut at = byte(0x34).into();
            while byte(at + 3) != 5 {
                at = byte(at + 1).into();
            }
            at
        })
    }

    fn carry_out(&self, op: &Op<'_>) {
        let mut data = [0; 64];
        match *op {
            Op::Read { offset, len } => {
                self.function.read_bar(BAR, offset.into(), &mut data[..usize::from(len % 65)]);
            }
            Op::Write { offset, data } => self.write(offset.into(), data),
            Op::ReadConfig { offset, len } => {
                self.function.read_config_window(offset.into(), &mut data[..usize::from(len % 9)]);
            }
            Op::WriteConfig { offset, data } => self.write_config(offset.into(), data),
            Op::Window { offset, len, data } => {
                let window = self.window();
                self.write_config(window + 4, &[0]);
                self.write_config(window + 8, &u32::from(offset).to_le_bytes());
                self.write_config(window + 12, &u32::from(len).to_le_bytes());
                self.write_config(window + 16, &data.to_le_bytes());
            }
            Op::Start { size } => self.start(size),
            Op::Fill { offset, data } => {
                let place = GuestAddress(u64::from(offset) % RAM as u64);
                // What does not fit is cut off.
                let _ = self.memory.write(data, place);
            }
            Op::Fail { panics } => {
                self.device.then(if panics { Activating::Panics } else { Activating::Fails });
            }
            Op::Pause => self.pause(),
            Op::Reset => self.reset(),
        }
        let word = self.function.registers().word();
        assert!(word.is_coherent(), "{word}");
        assert!(!matches!(word.state(), State::Resetting | State::Activating), "{word}");
    }
}

fuzz_target!(|input: Input<'_>| {
    let (bed, thread) = Bed::new(if input.holds { Working::Holds } else { Working::Serves });
    for op in &input.ops {
        bed.carry_out(op);
    }
    bed.pause();
    let removal = bed.function.remove();
    assert_eq!(bed.vcpus.wait_ticket(&removal, Deadline::Never), Ok(Outcome::Done));
    bed.activator.stop();
    thread.join().expect("the activator does not panic");
    assert_eq!(bed.device.seen.workers.load(Ordering::SeqCst), 0, "a worker is left");
});
