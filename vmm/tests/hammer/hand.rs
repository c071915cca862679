//! A hand: one thread that does the steps of a chapter, and watches the VM while it holds it.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stillpoint_guest::Mode;
use vcpu_state::sync::Arc;
use vcpu_state::{Deadline, Group, Pending, Quiesced};
use vmm::control::{ControlError, Vmm, VmmControl, Wake};

use super::account::{Account, Picture};
use super::bed::press;
use super::plan::{DONE, count};
use super::program::Step;
use super::watchdog;

/// What the hands of a chapter share.
pub struct Scene<'a> {
    pub vmm: &'a Vmm,
    pub account: &'a Account,
    pub group: &'a Arc<Group>,
    pub console: &'a UnixStream,
    pub vcpus: u32,
    /// Nobody else resumes what this hand paused, or ends the VM.
    pub alone: bool,
    /// The VM may end meanwhile, and requests may then be refused.
    pub ends: bool,
    /// One failed: the others need not go on.
    pub failed: &'a AtomicBool,
}

/// One more holder of the VM.
enum Holder {
    Asked(Pending),
    /// Its drop lets go.
    Still(#[expect(dead_code, reason = "its drop is what it is for")] Quiesced),
}

/// One thread's state.
pub struct Hand<'a> {
    scene: &'a Scene<'a>,
    holders: Vec<Holder>,
    /// Whether the operator's pause is in force, and known to stay.
    paused: bool,
    /// The VM as it was when this hand's present hold began.
    picture: Option<Picture>,
    /// Of the last resume: threads yet to be woken.
    wake: Option<Wake>,
}

impl<'a> Hand<'a> {
    pub fn new(scene: &'a Scene<'a>) -> Self {
        Self { scene, holders: Vec::new(), paused: false, picture: None, wake: None }
    }

    /// Does the steps; lets go of everything in the end.
    pub fn work(mut self, steps: &[Step]) -> Result<(), String> {
        vmm::sched::run_soon();
        for (number, step) in steps.iter().enumerate() {
            if self.scene.failed.load(Ordering::Relaxed) {
                break;
            }
            let of = steps.len();
            watchdog::doing(|| format!("step {} of {of}: {step:?}", number + 1));
            self.step(*step).map_err(|error| format!("step {} ({step:?}): {error}", number + 1))?;
            count(&DONE.steps);
        }
        while !self.holders.is_empty() {
            self.step(Step::Release)?;
        }
        watchdog::doing(|| "done".to_owned());
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let woken = self.wake.take();
        if woken.is_some() && step != Step::Resume {
            drop(woken);
        }
        // What a release ends was true up to then.
        self.look()?;
        match step {
            Step::Pause => self.pause()?,
            Step::Resume => self.resume()?,
            Step::Hold => {
                count(&DONE.cycles);
                let still = self.scene.group.pause(Deadline::Never).map_err(|e| e.to_string())?;
                self.holders.push(Holder::Still(still));
            }
            Step::Ask => {
                count(&DONE.cycles);
                let asked = self.scene.group.signal_all().map_err(|e| e.to_string())?;
                self.holders.push(Holder::Asked(asked));
            }
            Step::Await => self.await_newest()?,
            Step::Release => drop(self.holders.pop()),
            Step::Nmi => {
                // Counted before: it may arrive before the answer does.
                self.scene.account.nmis.fetch_add(1, Ordering::SeqCst);
                count(&DONE.nmis);
                self.allow(self.scene.vmm.nmi(), "")?;
            }
            Step::Mode(mode) => self.press(mode)?,
            Step::Remove(which) => {
                let vcpu = self.vcpu(which);
                let why = if vcpu == 0 { "vCPU 0 cannot be removed" } else { "removed already" };
                self.allow(self.scene.vmm.remove_vcpu(vcpu), why)?;
            }
            Step::Add(which) => {
                let vcpu = self.vcpu(which);
                if self.allow(self.scene.vmm.add_vcpu(vcpu), "is there already")? {
                    count(&DONE.replaced);
                }
            }
            Step::Run(micros) => watchdog::rest(Duration::from_micros(micros.into())),
            Step::Stuck => vcpu_state::sync::FutexWord::new(0).wait(0, None),
        }
        self.look()
    }

    fn vcpu(&self, which: u8) -> u32 {
        match self.scene.vcpus {
            1 => 0,
            vcpus => 1 + u32::from(which) % (vcpus - 1),
        }
    }

    fn press(&self, mode: Mode) -> Result<(), String> {
        self.scene.account.keys.fetch_add(1, Ordering::SeqCst);
        press(self.scene.console, mode.key()).map_err(|error| format!("the console: {error}"))
    }

    fn pause(&mut self) -> Result<(), String> {
        if self.allow(self.scene.vmm.pause(), "")? {
            count(&DONE.cycles);
            self.paused = self.scene.alone;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), String> {
        self.paused = false;
        match self.scene.vmm.resume() {
            Ok(wake) => self.wake = Some(wake),
            // It need not be paused.
            Err(ControlError::WrongPhase { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    fn await_newest(&mut self) -> Result<(), String> {
        match self.holders.pop() {
            Some(Holder::Asked(asked)) => {
                let still = asked.wait_all().map_err(|stuck| stuck.to_string())?;
                self.holders.push(Holder::Still(still));
            }
            other => self.holders.extend(other),
        }
        Ok(())
    }

    /// Whether it was done; refused it may be only for this reason, or because the VM has ended.
    fn allow(&self, result: Result<(), ControlError>, why: &str) -> Result<bool, String> {
        match result {
            Ok(()) => Ok(true),
            Err(ControlError::Failed(reason)) if !why.is_empty() && reason.contains(why) => {
                Ok(false)
            }
            Err(ControlError::WrongPhase { .. }) if self.scene.ends => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// While this hand holds the VM nothing moves, to the last increment.
    fn look(&mut self) -> Result<(), String> {
        let still = |holder: &Holder| matches!(holder, Holder::Still(_));
        if !self.paused && !self.holders.iter().any(still) {
            self.picture = None;
            return Ok(());
        }
        let words: Vec<_> = self.scene.group.words().collect();
        if let Some(vcpu) = words.iter().position(|word| !word.is_quiescent()) {
            return Err(format!("vCPU {vcpu} is held, and {}", words[vcpu]));
        }
        let now = self.scene.account.picture();
        match self.picture.get_or_insert_with(|| now.clone()).difference(&now) {
            None => Ok(()),
            Some(difference) => Err(format!("something moved under a hold: {difference}")),
        }
    }
}
