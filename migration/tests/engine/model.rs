//! Model VMs at both ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use migration::engine::{DestinationVm, Handle, SourceVm, VmError};
use migration::format::{StateReader, StateWriter, Unit};
use migration::memory::{Layout, PageSet};
use migration::testing::ModelMemory;
use migration::wire::{Phase, Rehearsal};
use serde::{Deserialize, Serialize};
use vcpu_state::sync::atomic::Ordering;

use crate::guest::Guest;
use crate::world::{DESTINATION, SOURCE, World};

pub const CONFIG: &[u8] = b"{\"model\": true}";

#[derive(Serialize, Deserialize)]
struct Writes(u64);

impl Unit for Writes {
    const KIND: &'static str = "writes";
    const VERSION: u16 = 1;
}

/// What happens at the nth thing that a VM is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// It fails.
    Fail(u32),
    /// The operator cancels.
    Cancel(u32),
}

pub struct Source {
    pub world: Arc<World>,
    pub guest: Arc<Guest>,
    /// What the operator wants.
    pub phase: Phase,
    pub handle: Arc<Handle>,
    pub trouble: Trouble,
    pub asked: u32,
    pub is_logging: bool,
    pub is_ended: bool,
    pub throttles: Vec<u8>,
    /// Cancels when the guest is throttled so much.
    pub cancel_at_throttle: Option<u8>,
    /// How long the first pause takes.
    pub first_pause: Duration,
    pub pauses: u32,
}

/// The migration's hold.
pub struct Still {
    world: Arc<World>,
    guest: Arc<Guest>,
    resumes: bool,
}

impl Drop for Still {
    fn drop(&mut self) {
        if self.resumes {
            self.world.run();
            self.guest.set_running(true);
        }
    }
}

impl Source {
    pub fn new(world: &Arc<World>, guest: Guest, phase: Phase, trouble: Trouble) -> Self {
        let is_running = phase == Phase::Running;
        if is_running {
            world.run();
        }
        guest.set_running(is_running);
        world.disks.store(SOURCE, Ordering::Release);
        Self {
            world: Arc::clone(world),
            guest: Arc::new(guest),
            phase,
            handle: Arc::new(Handle::new()),
            trouble,
            asked: 0,
            is_logging: false,
            is_ended: false,
            throttles: vec![],
            cancel_at_throttle: None,
            first_pause: Duration::ZERO,
            pauses: 0,
        }
    }

    fn asked(&mut self, what: &str) -> Result<(), VmError> {
        let now = self.asked;
        self.asked += 1;
        match self.trouble {
            Trouble::Fail(at) if at == now => Err(format!("it does not {what}").into()),
            Trouble::Cancel(at) if at == now => {
                // Too late, or not.
                let _ = self.handle.cancel();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl SourceVm for Source {
    type Memory = Guest;
    type Still = Still;

    fn memory(&self) -> &Guest {
        &self.guest
    }

    fn config(&self) -> Vec<u8> {
        CONFIG.to_vec()
    }

    fn start_dirty_log(&mut self) -> Result<(), VmError> {
        self.asked("log")?;
        self.is_logging = true;
        self.guest.take_dirty();
        Ok(())
    }

    fn dirty(&mut self) -> Result<PageSet, VmError> {
        self.asked("tell")?;
        self.guest.run(1);
        let dirty = self.guest.take_dirty();
        self.guest.run(1);
        Ok(dirty)
    }

    fn stop_dirty_log(&mut self) {
        self.is_logging = false;
    }

    fn throttle(&mut self, percent: u8) {
        self.throttles.push(percent);
        self.guest.set_throttle(percent);
        if self.cancel_at_throttle.is_some_and(|at| percent >= at) {
            self.handle.cancel().expect("nothing was committed");
        }
    }

    fn pause(&mut self) -> Result<Still, VmError> {
        self.asked("stop")?;
        let began = Instant::now();
        while self.pauses == 0 && began.elapsed() < self.first_pause {
            std::hint::spin_loop();
        }
        self.pauses += 1;
        self.guest.run(3);
        let resumes = self.phase == Phase::Running;
        if resumes {
            self.world.stop();
            self.guest.set_running(false);
        }
        let (world, guest) = (Arc::clone(&self.world), Arc::clone(&self.guest));
        Ok(Still { world, guest, resumes })
    }

    fn phase(&self, _: &Still) -> Phase {
        self.phase
    }

    fn last_dirty(&mut self, _: &Still) -> Result<PageSet, VmError> {
        self.asked("tell the last")?;
        Ok(self.guest.take_dirty())
    }

    fn save(&mut self, _: &Still) -> Result<Vec<u8>, VmError> {
        self.asked("save")?;
        let mut writer = StateWriter::new();
        writer.put(&Writes(self.guest.writes.load(Ordering::Acquire)))?;
        Ok(writer.finish())
    }

    fn release_disks(&mut self, _: &Still) -> Result<(), VmError> {
        self.asked("give up its disks")?;
        self.world.give(SOURCE);
        Ok(())
    }

    fn retake_disks(&mut self, _: &Still) -> Result<(), VmError> {
        self.asked("take its disks back")?;
        self.world.take(SOURCE)
    }

    fn end(&mut self, mut still: Still) {
        still.resumes = false;
        self.is_ended = true;
    }
}

pub struct Destination {
    pub world: Arc<World>,
    pub memory: ModelMemory,
    pub trouble: Trouble,
    pub asked: u32,
    pub restored: Option<u64>,
    pub started: Option<Phase>,
    pub is_discarded: bool,
    /// What it says that it has tried out.
    pub rehearsal: Option<Rehearsal>,
}

impl Destination {
    pub fn new(world: &Arc<World>, layout: &Layout, trouble: Trouble) -> Self {
        Self {
            world: Arc::clone(world),
            memory: ModelMemory::new(layout),
            trouble,
            asked: 0,
            restored: None,
            started: None,
            is_discarded: false,
            rehearsal: None,
        }
    }

    fn asked(&mut self, what: &str) -> Result<(), VmError> {
        let now = self.asked;
        self.asked += 1;
        match self.trouble {
            Trouble::Fail(at) if at == now => Err(format!("it does not {what}").into()),
            _ => Ok(()),
        }
    }
}

impl DestinationVm for Destination {
    type Memory = ModelMemory;

    fn build(&mut self, config: &[u8]) -> Result<(&ModelMemory, Option<Rehearsal>), VmError> {
        self.asked("build")?;
        assert_eq!(config, CONFIG);
        Ok((&self.memory, self.rehearsal))
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), VmError> {
        self.asked("restore")?;
        let mut reader = StateReader::parse(state)?;
        let Writes(writes) = reader.take()?;
        reader.finish()?;
        self.restored = Some(writes);
        Ok(())
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        self.asked("take its disks")?;
        self.world.take(DESTINATION)
    }

    fn start(&mut self, phase: Phase) -> Result<(), VmError> {
        self.asked("start")?;
        if phase == Phase::Running {
            self.world.run();
        }
        self.started = Some(phase);
        Ok(())
    }

    fn discard(&mut self) {
        assert_eq!(self.started, None, "what was started is not discarded");
        self.is_discarded = true;
        self.world.give(DESTINATION);
    }
}
