//! The owner's way from a configuration to a running VM.

use std::time::Instant;

use devices::power::{PowerRequest, PowerSink};
use vcpu_state::sync::Arc;

use super::ControlError;
use super::message::Message;
use super::owner::Owner;
use super::phase::Move;
use super::published::Live;
use crate::config::{MEMORY_DEVICE, VmConfig};
use crate::consoles::Consoles;
use crate::host_devices::Claim;
use crate::vcpu::{End, GuestEnd};
use crate::vm::{Builder, Machine, Start, Vm};

impl Owner {
    pub(super) fn boot(&mut self, begun: Instant) -> Result<(), ControlError> {
        let config = self.published.config.load_full();
        self.published.phase.advance(Move::Boot)?;
        let config = config.ok_or(ControlError::NotCreated)?;
        match self.build(&config, Start::Boot, Claim::Now) {
            Ok(mut vm) => {
                self.published.last_error.store(None);
                if let Some(on_first_boot) = self.options.on_first_boot.take() {
                    on_first_boot();
                }
                // The vCPUs are free from here on, and are woken when that has been said: beside hundreds
                // of them, whoever says or reads it is one among many who want a processor.
                let wake = vm.resume();
                self.publish(vm);
                self.published.boot.set(begun.elapsed());
                let done = self.published.phase.advance(Move::Done);
                drop(wake);
                done.map(drop)
            }
            Err(error) => {
                self.published.phase.advance(Move::Failed)?;
                Err(error)
            }
        }
    }

    /// Builds a VM, held.
    pub(super) fn build(
        &mut self,
        config: &VmConfig,
        start: Start,
        claim: Claim,
    ) -> Result<Vm, ControlError> {
        // The host's ends of the consoles outlive a reboot.
        let consoles = match self.published.consoles.load_full() {
            Some(consoles) => consoles,
            None => self.open_consoles(config)?,
        };
        self.serial += 1;
        let serial = self.serial;
        let inbox = Arc::clone(&self.inbox);
        self.host
            .open(config, &consoles, claim)
            .map_err(|error| ControlError::Failed(error.to_string()))?;
        let devices = &self.host;
        let past = std::mem::take(&mut self.past);
        let builder =
            Builder { config, consoles: &consoles, devices, inbox: &self.inbox, past, start };
        let ended = Arc::new(move |machine: &Machine, index, end| match end {
            End::Killed => {}
            End::Guest(GuestEnd::Reset) => {
                // Almost always a guest that crashed so badly that it could not say so.
                tracing::warn!("triple fault on vCPU {index}: the guest is reset");
                machine.power.request(PowerRequest::Reset);
            }
            End::Guest(GuestEnd::Shutdown) => machine.power.request(PowerRequest::Shutdown),
            End::Guest(GuestEnd::Crash) => {
                let report = format!("the guest reported a crash through vCPU {index}");
                inbox.post(Message::VcpuFailed { vm: serial, report, end: None });
            }
            End::Failed(failure) => {
                let report = failure.to_string();
                inbox.post(Message::VcpuFailed { vm: serial, report, end: None });
            }
            End::Panicked(message) => {
                let report = format!("the thread of vCPU {index} panicked: {message}");
                inbox.post(Message::VcpuFailed { vm: serial, report, end: None });
            }
        });
        builder.build(ended).map_err(|error| ControlError::Failed(error.to_string()))
    }

    fn open_consoles(&mut self, config: &VmConfig) -> Result<Arc<Consoles>, ControlError> {
        let consoles = Consoles::open(config, self.options.open_terminal.as_ref())
            .map_err(|error| ControlError::Failed(error.to_string()))?;
        self.published.config.store(Some(Arc::new(consoles.fill_in(config))));
        let consoles = Arc::new(consoles);
        self.published.consoles.store(Some(Arc::clone(&consoles)));
        Ok(consoles)
    }

    /// Shows a VM whose vCPUs are free, or are its user's to free.
    pub(super) fn publish(&mut self, vm: Vm) {
        let memory = self.host.find(MEMORY_DEVICE).and_then(|device| device.memory());
        let live = Live {
            machine: Arc::clone(vm.machine()),
            group: Arc::clone(vm.group()),
            cpus: Arc::clone(vm.cpu_hotplug()),
            stillness: vm.stillness().clone(),
            pages: vm.live_memory(),
            memory: memory.map(Arc::clone),
        };
        self.published.live.store(Some(Arc::new(live)));
        self.vm = Some(vm);
        self.publish_places();
    }
}
