//! The VM that is to go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use migration::engine::{DiskFiles, Extent, Handle, SourceVm, VmError};
use migration::format::StateWriter;
use migration::memory::{PageSet, SourceMemory};
use migration::wire::{DiskFile, Part, Passed, Phase};
use vcpu_state::sync::atomic::Ordering;

use super::asks::{Asks, Trouble};
use super::{CONFIG, DISKS, Writes, file_of};
use crate::guest::Guest;
use crate::lazy::Lent;
use crate::world::{SOURCE, World};

pub struct Source {
    pub world: Arc<World>,
    pub guest: Arc<Guest>,
    /// What the operator wants.
    pub phase: Phase,
    pub asks: Asks,
    pub is_logging: bool,
    pub is_ended: bool,
    pub throttles: Vec<u8>,
    /// Cancels when the guest is throttled so much.
    pub cancel_at_throttle: Option<u8>,
    /// How long the first pause takes.
    pub first_pause: Duration,
    pub pauses: u32,
    pub more_disks: usize,
    /// What it was asked to pass.
    pub passed: Option<Extent>,
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
            asks: Asks::new(trouble, Arc::default()),
            is_logging: false,
            is_ended: false,
            throttles: vec![],
            cancel_at_throttle: None,
            first_pause: Duration::ZERO,
            pauses: 0,
            more_disks: 0,
            passed: None,
        }
    }

    pub fn handle(&self) -> &Arc<Handle> {
        self.asks.handle()
    }
}

impl SourceVm for Source {
    type Memory = Guest;
    type Still = Still;

    fn memory(&self) -> &Guest {
        &self.guest
    }

    fn parts(&mut self, extent: Extent) -> Result<Vec<Passed>, VmError> {
        self.asks.next("pass what it consists of")?;
        self.passed = Some(extent);
        let mut parts = vec![Passed { part: Part::Memory, file: file_of("memory")? }];
        if extent == Extent::MemoryAndDisks {
            for (id, backing) in DISKS {
                let backing = (0..backing).map(|place| file_of(&format!("{id} backing {place}")));
                let direct =
                    if backing.len() == 0 { Some(file_of(&format!("{id} direct"))?) } else { None };
                let backing = backing.collect::<Result<_, _>>()?;
                let image = file_of(&format!("{id} image"))?;
                parts.extend(DiskFiles { image, direct, backing }.passed(id));
            }
        }
        for more in 0..self.more_disks {
            let part = Part::Disk { id: format!("more{more}"), file: DiskFile::Image };
            parts.push(Passed { part, file: file_of("more")? });
        }
        Ok(parts)
    }

    fn config(&self) -> Vec<u8> {
        CONFIG.to_vec()
    }

    fn start_dirty_log(&mut self) -> Result<(), VmError> {
        self.asks.next("log")?;
        self.is_logging = true;
        self.guest.take_dirty();
        Ok(())
    }

    fn dirty(&mut self) -> Result<PageSet, VmError> {
        self.asks.next("tell")?;
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
            self.handle().cancel().expect("nothing was committed");
        }
    }

    fn pause(&mut self) -> Result<Still, VmError> {
        self.asks.next("stop")?;
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
        self.asks.next("tell the last")?;
        Ok(self.guest.take_dirty())
    }

    fn save(&mut self, _: &Still) -> Result<Vec<u8>, VmError> {
        self.asks.next("save")?;
        let mut writer = StateWriter::new();
        writer.put(&Writes(self.guest.writes.load(Ordering::Acquire)))?;
        Ok(writer.finish())
    }

    fn release_disks(&mut self, _: &Still) -> Result<(), VmError> {
        self.asks.next("give up its disks")?;
        self.world.give(SOURCE);
        Ok(())
    }

    fn retake_disks(&mut self, _: &Still) -> Result<(), VmError> {
        self.asks.next("take its disks back")?;
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
