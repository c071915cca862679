//! The owner of the VM: takes one message after the other, and never lends the VM out.
//!
//! Which thread that happens on is the business of [`super::core`].

use std::time::Instant;

use devices::watchdog::Past;
use vcpu_state::PauseParts;
use vcpu_state::sync::Arc;

use super::message::{Answer, Message, Request};
use super::phase::{Move, Phase};
use super::published::Published;
use super::transfer::{Sifted, Transfers};
use super::{ControlError, Ended, Inbox, VmmOptions};
use crate::config::VmConfig;
use crate::host_devices::HostDevices;
use crate::vm::{SeatError, StillError, Vm, Wake};

/// The owner's state.
pub(super) struct Owner {
    pub(super) options: VmmOptions,
    pub(super) inbox: Arc<Inbox>,
    pub(super) published: Arc<Published>,
    pub(super) vm: Option<Vm>,
    /// The host's ends of its devices; they outlive reboots.
    pub(super) host: HostDevices,
    /// Serial number of the newest VM, so that a message about an older one is known to be.
    pub(super) serial: u64,
    /// Why the next VM begins.
    pub(super) past: Past,
    pub(super) transfers: Transfers,
}

impl Owner {
    pub(super) fn new(options: VmmOptions, inbox: Arc<Inbox>, published: Arc<Published>) -> Self {
        let host = HostDevices::with_own(&options.devices, options.open_disk.as_ref());
        let (past, transfers) = (Past::default(), Transfers::default());
        Self { options, inbox, published, vm: None, host, serial: 0, past, transfers }
    }

    /// The VMM ends: nothing is left of the VM.
    pub(super) fn finish(&mut self, ended: &Ended) {
        self.remove();
        self.tell(ended);
    }

    pub(super) fn tell(&self, ended: &Ended) {
        if let Some(on_end) = &self.options.on_end {
            on_end(ended);
        }
    }

    /// Works the inbox off; says so if the VMM has to end.
    pub(super) fn work(&mut self) -> Option<Ended> {
        self.inbox.take_look();
        while let Some(message) = self.inbox.take() {
            if let Some(ended) = self.receive(message) {
                return Some(ended);
            }
        }
        self.look_after_guest()
    }

    fn receive(&mut self, message: Message) -> Option<Ended> {
        match message {
            Message::Request(Request::VmmShutdown, answer) => {
                self.remove();
                answer.send(Ok(Answer::Done));
                Some(Ended::Requested)
            }
            Message::Request(request, answer) => {
                match self.sift(&request) {
                    Ok(Sifted::Passes) => answer.send(self.answer(request)),
                    Ok(Sifted::Waits) => self.put_off(Message::Request(request, answer)),
                    Err(refused) => answer.send(Err(refused)),
                }
                None
            }
            Message::Transfer(ask, answer) => {
                let (told, ended) = self.serve_transfer(ask);
                // Its worker waits for it, unless it panicked.
                let _ = answer.send(told);
                ended
            }
            Message::VcpuFailed { vm, report, end } => self.vcpu_failed(vm, report, end),
        }
    }

    fn answer(&mut self, request: Request) -> Result<Answer, ControlError> {
        match request {
            Request::Resume => self.resume().map(Answer::Resumed),
            Request::PauseParts => self.pause_parts().map(Answer::Parts),
            Request::Devices(request) => self.change_devices(*request),
            other => self.carry_out(other).map(|()| Answer::Done),
        }
    }

    fn carry_out(&mut self, request: Request) -> Result<(), ControlError> {
        match request {
            Request::Create(config) => self.create(*config),
            Request::Boot => {
                let begun = self.options.started.take().unwrap_or_else(Instant::now);
                self.boot(begun)
            }
            Request::Pause => self.pause(),
            Request::Shutdown => self.shutdown(),
            Request::Reboot => self.reboot(),
            Request::Delete => self.delete(),
            Request::Nmi => {
                self.live("send an NMI to")?.nmi();
                Ok(())
            }
            Request::PowerButton => {
                self.live("press the power button of")?.press_power_button();
                Ok(())
            }
            Request::RemoveVcpu(vcpu) => seated(self.live("remove a vCPU of")?.remove_vcpu(vcpu)),
            Request::AddVcpu(vcpu) => seated(self.live("add a vCPU to")?.add_vcpu(vcpu)),
            // The others are answered where they have been taken apart.
            Request::Resume | Request::PauseParts | Request::Devices(_) | Request::VmmShutdown => {
                Err(ControlError::Stopping)
            }
        }
    }

    fn pause_parts(&mut self) -> Result<PauseParts, ControlError> {
        let action = "take the pause apart of";
        let state = || self.published.phase().state();
        let not_paused = || match state() {
            Some(state) => ControlError::WrongPhase { action, state, needed: "Paused" },
            None => ControlError::NotCreated,
        };
        self.vm.as_ref().and_then(Vm::pause_parts).ok_or_else(not_paused)
    }

    fn create(&mut self, mut config: VmConfig) -> Result<(), ControlError> {
        if self.published.phase() != Phase::NotCreated {
            return Err(ControlError::AlreadyCreated);
        }
        config.validate().map_err(|error| ControlError::InvalidConfig(error.to_string()))?;
        config.name_devices();
        self.published.config.store(Some(Arc::new(config)));
        self.published.phase.advance(Move::Create).map(drop)
    }

    fn pause(&mut self) -> Result<(), ControlError> {
        if self.published.phase() == Phase::Paused {
            return Ok(());
        }
        self.published.phase.advance(Move::Pause)?;
        let ends = &self.published.ends;
        let paused = match &mut self.vm {
            Some(vm) => {
                vm.pause_unless(&|| ends.is_asked()).map_err(|error| not_paused(vm, &error))
            }
            None => Err(ControlError::NotCreated),
        };
        match paused {
            Ok(latency) => {
                self.published.last_pause.set(latency);
                self.published.phase.advance(Move::Done).map(drop)
            }
            Err(error) => {
                self.published.phase.advance(Move::Failed)?;
                Err(error)
            }
        }
    }

    pub(super) fn resume(&mut self) -> Result<Wake, ControlError> {
        self.published.phase.advance(Move::Resume)?;
        let begun = Instant::now();
        let wake = self.vm.as_mut().map_or_else(Wake::none, Vm::resume);
        self.published.last_resume.set(begun.elapsed());
        Ok(wake)
    }

    pub(super) fn shutdown(&mut self) -> Result<(), ControlError> {
        self.end_vm()?;
        self.host.clear();
        Ok(())
    }

    fn end_vm(&mut self) -> Result<(), ControlError> {
        self.published.phase.advance(Move::Stop)?;
        self.end_transfer_of_vm("the VM was shut down, or was reset");
        self.stop();
        self.published.phase.advance(Move::Done).map(drop)
    }

    /// Ends the vCPUs; the consoles and the host's ends of devices stay.
    pub(super) fn stop(&mut self) {
        self.published.live.store(None);
        self.published.places.store(None);
        self.published.last_pause.clear();
        self.published.last_resume.clear();
        if let Some(vm) = self.vm.take() {
            vm.stop();
        }
    }

    pub(super) fn reboot(&mut self) -> Result<(), ControlError> {
        self.end_vm().map_err(|refused| match refused {
            ControlError::WrongPhase { state, needed, .. } => {
                ControlError::WrongPhase { action: "reboot", state, needed }
            }
            other => other,
        })?;
        self.boot(Instant::now())
    }

    pub(super) fn delete(&mut self) -> Result<(), ControlError> {
        if matches!(self.published.phase(), Phase::Running | Phase::Paused | Phase::Doubtful) {
            self.shutdown()?;
        }
        self.published.phase.advance(Move::Delete)?;
        self.published.consoles.store(None);
        self.published.config.store(None);
        self.published.last_error.store(None);
        self.published.guest.clear();
        self.published.boot.clear();
        Ok(())
    }

    /// The VM, if it has vCPUs to do something to.
    pub(super) fn live(&mut self, action: &'static str) -> Result<&mut Vm, ControlError> {
        match (self.published.phase(), &mut self.vm) {
            (Phase::Running | Phase::Paused, Some(vm)) => Ok(vm),
            (Phase::Doubtful, _) => Err(ControlError::InDoubt),
            (phase, _) => Err(phase.state().map_or(ControlError::NotCreated, |state| {
                ControlError::WrongPhase { action, state, needed: "Running or Paused" }
            })),
        }
    }

    /// Ends the VM, if there is one, whatever its phase.
    fn remove(&mut self) {
        self.drop_transfers();
        let _ = self.shutdown();
        self.stop();
        self.host.clear();
        self.published.consoles.store(None);
    }
}

/// Why a VM was not paused that goes on, or is about to end.
fn not_paused(vm: &Vm, error: &StillError) -> ControlError {
    if error.is_given_up() {
        return ControlError::Cancelled(format!(
            "it was not paused: the VM is being ended; {error}"
        ));
    }
    let missing = vm.machine().ram.missing_bytes();
    ControlError::Failed(match missing {
        0 => error.to_string(),
        _ => format!(
            "{error}; {missing} bytes of its memory are still to come, and who waits for some of that stops when it has come. The VM goes on"
        ),
    })
}

fn seated(result: Result<(), SeatError>) -> Result<(), ControlError> {
    result.map_err(|error| ControlError::Failed(error.to_string()))
}
