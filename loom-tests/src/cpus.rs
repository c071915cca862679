//! CPU hotplug as a model: production's registers, and a manager who hears of ejects.

use std::sync::Arc;

use devices::bus::BusDevice;
use devices::cpu_hotplug::{CpuHotplugController, EjectedSink};

use crate::bed::Bed;
use crate::checker::{FutexWord, await_at_least, join, thread};
use crate::device::handled;
use crate::vcpu::{Handled, Report};

const SELECT: u64 = 0;
const STATUS: u64 = 4;
/// Bits of the status.
pub const ENABLED: u32 = 1;
/// The vCPU is to go.
pub const REMOVING: u32 = 4;
const EJECT: u32 = 8;

/// The registers, and the bell that an eject rings.
#[derive(Clone)]
pub struct Hotplug {
    /// As the manager has them.
    pub registers: Arc<CpuHotplugController>,
    bell: Arc<FutexWord>,
}

struct Bell(Arc<FutexWord>);

impl EjectedSink for Bell {
    fn ejected(&self) {
        self.0.advance();
    }
}

impl Hotplug {
    /// Those of so many vCPUs, all of which are there.
    pub fn new(vcpus: u32) -> Self {
        let bell = Arc::new(FutexWord::new(0));
        let sink = Arc::new(Bell(Arc::clone(&bell)));
        Self { registers: Arc::new(CpuHotplugController::new(vcpus, vcpus, sink)), bell }
    }

    fn write(&self, offset: u64, value: u32) -> Handled {
        handled(self.registers.write(offset, &value.to_le_bytes()))
    }

    fn read(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.registers.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    /// What `_STA` of a vCPU does.
    pub fn status(&self, vcpu: u32) -> u32 {
        self.write(SELECT, vcpu);
        self.read(STATUS)
    }

    /// What `_EJ0` of a vCPU does.
    pub fn eject(&self, vcpu: u32) -> Handled {
        self.write(SELECT, vcpu);
        self.write(STATUS, EJECT)
    }

    /// The vCPU that is selected.
    pub fn selected(&self) -> u32 {
        self.read(SELECT)
    }

    /// The manager: waits until a vCPU was ejected, ends its thread and frees the slot.
    ///
    /// # Panics
    /// Another one was ejected.
    pub fn retire(&self, bed: &Bed, vcpu: u32, thread: thread::JoinHandle<Report>) -> Report {
        await_at_least(&self.bell, 1);
        assert_eq!(self.registers.take_ejected(), [vcpu]);
        bed.group.kill(vcpu as usize);
        let report = join(thread);
        assert_eq!(self.registers.vacate(vcpu), Ok(()));
        report
    }
}
