//! A VM that goes, as the engine sees it: handles, and a line to the owner who has the VM.
//!
//! The engine asks [`phase`](SourceVm::phase) once, when it has decided to hand the VM over. From then on the owner knows that the VM is leaving:
//! what the guest asks for and what users ask for waits until it is known whose the VM is.

use std::cell::OnceCell;
use std::time::Duration;

use migration::engine::{Extent, SourceVm, VmError};
use migration::memory::{PageSet, SourceMemory};
use migration::wire::{Part, Passed, Phase};
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicBool, Ordering};
use vcpu_state::throttle::{DutyCycle, Throttle};

use super::{Transfer, aside};
use crate::control::{Begun, ControlError, Line};
use crate::memory::MigrationMemory;
use crate::vm::{DirtyLog, DirtyLogError, PAUSE_DEADLINE, Still, throttle};

/// The migration's hold of the VM. Dropping it lets go, and then tells the owner that the VM stays, if it was leaving: nobody waits for
/// the rest of a migration that has failed.
pub(super) struct Hold {
    /// None only on the way out.
    still: Option<Arc<Still>>,
    line: Line,
    vm: u64,
    is_leaving: Arc<AtomicBool>,
}

impl Hold {
    /// The hold itself, for the owner to keep.
    pub(super) fn into_still(mut self) -> Option<Arc<Still>> {
        // Relaxed, here and below: one thread has it.
        self.is_leaving.store(false, Ordering::Relaxed);
        self.still.take()
    }

    fn still(&self) -> Result<&Arc<Still>, NoHold> {
        self.still.as_ref().ok_or(NoHold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.still.take());
        if self.is_leaving.swap(false, Ordering::Relaxed) {
            self.line.stays(self.vm);
        }
    }
}

/// A stop and a run of a throttled vCPU.
const PERIOD: Duration = Duration::from_millis(10);

/// What a pause takes, and what a processor has to do for each vCPU that stops (docs/performance.md), until one has been measured.
const PAUSE: Duration = Duration::from_micros(100);
const PAUSE_OF_VCPU: Duration = Duration::from_micros(20);

/// The VM that is to go.
pub(super) struct Departure {
    line: Line,
    transfer: Arc<Transfer>,
    begun: Begun,
    memory: MigrationMemory,
    log: Option<DirtyLog>,
    throttle: Option<Throttle>,
    /// Whether the destination has mapped its memory, too.
    is_shared: bool,
    /// Whether the owner has been told so.
    is_leaving: Arc<AtomicBool>,
    /// Why the owner would not let it leave.
    refused: OnceCell<ControlError>,
}

/// The VM is not held any more.
#[derive(Debug, thiserror::Error)]
#[error("the VM is not held")]
struct NoHold;

/// There is no log to read.
#[derive(Debug, thiserror::Error)]
#[error("the dirty log was not started")]
struct NoLog;

/// Its memory is not in a file of its own.
#[derive(Debug, thiserror::Error)]
#[error(
    "it was restored on demand, over a snapshot's file: migrate it without local, which copies it"
)]
struct NoMemfd;

/// The VM is not what the destination was told any more.
#[derive(Debug, thiserror::Error)]
#[error("the VM's devices have changed meanwhile")]
struct Changed;

impl Departure {
    /// The VM that these handles are of.
    ///
    /// # Errors
    /// The host gives no handle on its memory.
    pub(super) fn new(
        line: &Line,
        transfer: &Arc<Transfer>,
        begun: Begun,
    ) -> Result<Self, DirtyLogError> {
        let memory = begun.memory.pages()?;
        Ok(Self {
            line: line.clone(),
            transfer: Arc::clone(transfer),
            begun,
            memory,
            log: None,
            throttle: None,
            is_shared: false,
            is_leaving: Arc::new(AtomicBool::new(false)),
            refused: OnceCell::new(),
        })
    }

    /// The VM has gone, and nobody waits for what is left of it here: KVM's side of it and its memory, whose end the host takes tens
    /// of milliseconds for. Images and what else has a name are closed when this returns.
    pub(super) fn leave_behind(self) {
        let Self { line, transfer, begun, memory, log, throttle, .. } = self;
        let Begun { stillness, memory: live, vcpus, disks, .. } = begun;
        drop((line, transfer, log, throttle, stillness, vcpus, disks));
        aside::drop_aside((memory, live));
    }

    fn log(&mut self) -> Result<&mut DirtyLog, NoLog> {
        self.log.as_mut().ok_or(NoLog)
    }
}

impl SourceVm for Departure {
    type Memory = MigrationMemory;
    type Still = Hold;

    fn memory(&self) -> &MigrationMemory {
        &self.memory
    }

    fn parts(&mut self, extent: Extent) -> Result<Vec<Passed>, VmError> {
        let memory = self.begun.memory.memfd().ok_or(NoMemfd)?;
        if self.begun.memory.is_to_come() {
            return Err(
                "part of its memory is still to come: it can be passed when all is there".into()
            );
        }
        let mut parts = vec![Passed { part: Part::Memory, file: memory.try_clone_to_owned()? }];
        if extent == Extent::MemoryAndDisks {
            let disks = self.begun.disks.files()?;
            parts.extend(disks.into_iter().flat_map(|(id, files)| files.passed(id)));
        }
        self.begun.memory.claim()?;
        self.is_shared = true;
        Ok(parts)
    }

    fn config(&self) -> Vec<u8> {
        self.begun.config.clone()
    }

    fn start_dirty_log(&mut self) -> Result<(), VmError> {
        self.log = Some(self.begun.memory.start_log()?);
        Ok(())
    }

    fn dirty(&mut self) -> Result<PageSet, VmError> {
        Ok(self.log()?.collect()?)
    }

    fn stop_dirty_log(&mut self) {
        self.log = None;
    }

    fn throttle(&mut self, percent: u8) {
        let vcpus = 0..self.begun.vcpus.len();
        match (DutyCycle::new(percent.min(99), PERIOD), &self.throttle) {
            (Err(_), _) => self.throttle = None,
            (Ok(duty), Some(throttle)) => throttle.retune(duty),
            (Ok(duty), None) => match throttle(&self.begun.vcpus, vcpus, duty) {
                Ok(throttle) => self.throttle = Some(throttle),
                // It converges later, or not at all, which the time-out decides.
                Err(error) => tracing::warn!(%error, "no thread to throttle the guest with"),
            },
        }
    }

    fn expected_pause(&self) -> Duration {
        let vcpus = u32::try_from(self.begun.vcpus.len()).unwrap_or(u32::MAX);
        PAUSE + PAUSE_OF_VCPU.saturating_mul(vcpus)
    }

    fn pause(&mut self) -> Result<Hold, VmError> {
        // While the guest runs: little is left to be synced when the locks are given up.
        self.begun.disks.sync()?;
        let still = Arc::new(self.begun.stillness.reach(PAUSE_DEADLINE)?);
        Ok(Hold {
            still: Some(still),
            line: self.line.clone(),
            vm: self.begun.vm,
            is_leaving: Arc::clone(&self.is_leaving),
        })
    }

    fn phase(&self, _: &Hold) -> Phase {
        match self.line.leave(self.begun.vm) {
            Ok(phase) => {
                self.is_leaving.store(true, Ordering::Relaxed);
                phase
            }
            Err(error) => {
                let _ = self.refused.set(error);
                // Nobody gets to know: the save fails.
                Phase::Paused
            }
        }
    }

    fn last_dirty(&mut self, still: &Hold) -> Result<PageSet, VmError> {
        Ok(self.log()?.last(still.still()?)?)
    }

    fn save(&mut self, still: &Hold) -> Result<Vec<u8>, VmError> {
        if let Some(refused) = self.refused.take() {
            return Err(refused.into());
        }
        let saved = self.line.save(self.begun.vm, still.still()?)?;
        if saved.config != self.begun.config {
            return Err(Changed.into());
        }
        Ok(saved.state)
    }

    fn release_disks(&mut self, _: &Hold) -> Result<(), VmError> {
        if self.is_shared {
            self.begun.memory.release();
        }
        Ok(self.begun.disks.release()?)
    }

    fn retake_disks(&mut self, _: &Hold) -> Result<(), VmError> {
        if self.is_shared {
            self.begun.memory.claim()?;
        }
        Ok(self.begun.disks.claim()?)
    }

    fn lend_memory(&self) -> Result<Box<dyn SourceMemory + Send>, VmError> {
        Ok(Box::new(self.begun.memory.pages()?))
    }

    fn end(&mut self, still: Hold) {
        self.is_leaving.store(false, Ordering::Relaxed);
        // KVM's log, and what a throttle holds, before what they are of.
        self.log = None;
        self.throttle = None;
        if let Err(error) = self.line.gone(&self.transfer) {
            // The VMM is going away, and the VM with it.
            tracing::debug!(%error, "the VM that was sent has ended already");
        }
        drop(still);
    }
}
