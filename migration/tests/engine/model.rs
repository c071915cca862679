//! Model VMs at both ends.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use migration::engine::postcopy::LazyMemory;
use migration::engine::{DestinationVm, Handle, SourceVm, VmError};
use migration::format::{StateReader, StateWriter, Unit};
use migration::memory::{Layout, PageSet, SourceMemory};
use migration::testing::ModelMemory;
use migration::wire::{Part, Passed, Phase, Rehearsal};
use serde::{Deserialize, Serialize};
use vcpu_state::sync::atomic::Ordering;

use crate::guest::Guest;
use crate::lazy::{LazyModel, Lent};
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

    fn parts(&mut self) -> Result<Vec<Passed>, VmError> {
        self.asked("pass its memory")?;
        Ok(vec![Passed { part: Part::Memory, file: tempfile::tempfile()?.into() }])
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

    fn lend_memory(&self) -> Result<Box<dyn SourceMemory + Send>, VmError> {
        Ok(Box::new(Lent(Arc::clone(&self.guest))))
    }

    fn end(&mut self, mut still: Still) {
        still.resumes = false;
        self.is_ended = true;
    }
}

pub struct Destination {
    pub world: Arc<World>,
    pub memory: Arc<ModelMemory>,
    pub lazy: Option<Arc<LazyModel>>,
    /// The guest at this end, which touches missing pages.
    pub toucher: Option<JoinHandle<()>>,
    /// When that ends its VM, as a user would: after so many pages.
    pub ends_after: Option<u64>,
    pub trouble: Trouble,
    pub asked: u32,
    pub restored: Option<u64>,
    pub started: Option<Phase>,
    pub is_discarded: bool,
    /// The memory that it shares with the source, if that was passed.
    pub adopted: Option<Arc<Guest>>,
    /// What it would share.
    pub neighbour: Option<Arc<Guest>>,
    /// What it says that it has tried out.
    pub rehearsal: Option<Rehearsal>,
}

impl Destination {
    pub fn new(world: &Arc<World>, layout: &Layout, trouble: Trouble) -> Self {
        Self {
            world: Arc::clone(world),
            memory: Arc::new(ModelMemory::new(layout)),
            lazy: None,
            toucher: None,
            ends_after: None,
            trouble,
            asked: 0,
            restored: None,
            started: None,
            is_discarded: false,
            adopted: None,
            neighbour: None,
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

    fn adopt(&mut self, passed: Vec<Passed>) -> Result<(), VmError> {
        self.asked("adopt")?;
        assert_eq!(passed.len(), 1);
        self.adopted.clone_from(&self.neighbour);
        Ok(())
    }

    fn build(&mut self, config: &[u8]) -> Result<(&ModelMemory, Option<Rehearsal>), VmError> {
        self.asked("build")?;
        assert_eq!(config, CONFIG);
        Ok((&self.memory, self.rehearsal))
    }

    fn can_postpone(&self) -> bool {
        true
    }

    fn postpone(&mut self, missing: &PageSet) -> Result<Arc<dyn LazyMemory>, VmError> {
        self.asked("wait for its memory")?;
        let lazy = LazyModel::new(&self.world, &self.memory, missing);
        Ok(Arc::clone(self.lazy.insert(Arc::new(lazy))) as _)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), VmError> {
        self.asked("restore")?;
        if let Some(lazy) = &self.lazy {
            // As what a VM has in memory is looked at; whether it comes does not matter any more if it does not.
            let _ = [0, 5, 61].map(|page| lazy.touch(page));
        }
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
        let runs = phase == Phase::Running;
        if runs {
            self.world.run();
            // The memory is its own now.
            self.adopted.iter().for_each(|guest| guest.take_over());
        }
        if self.lazy.as_ref().is_some_and(|lazy| !lazy.go_live(runs)) {
            if runs {
                self.world.stop();
            }
            return Err("its memory cannot be had".into());
        }
        if runs {
            self.toucher = self.lazy.clone().map(|lazy| {
                let pages = SourceMemory::layout(&*self.memory).pages();
                let ends_after = self.ends_after;
                std::thread::spawn(move || {
                    // All of them, in an order of its own.
                    for at in 0..pages {
                        if ends_after == Some(at) {
                            lazy.end();
                        }
                        if lazy.touch(at * 37 % pages).is_none() {
                            return;
                        }
                    }
                })
            });
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

/// A state that says that nothing was written.
pub fn state_of_nothing() -> Vec<u8> {
    let mut writer = StateWriter::new();
    writer.put(&Writes(0)).expect("it is the only one");
    writer.finish()
}
