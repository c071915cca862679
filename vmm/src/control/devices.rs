//! Requests about single devices.
//!
//! ```text
//!                        ┌─ no vCPUs: the configuration changes; the next boot makes of it what it says
//!  request ─▶ checked ───┤
//!                        └─ vCPUs: the machine is asked (plug, unplug, …), then the configuration changes
//! ```
//!
//! A disk whose machine runs comes open: the owner says under which id, whoever asks opens it ([`crate::host_devices`]), and asks again.
//!
//! Invariants: a request that is refused changes nothing; the configuration that `vm.info` shows is that
//! of the devices that the guest has or gets.

use std::collections::BTreeSet;

use devices::pci::Slot;
use vcpu_state::sync::Arc;

use super::message::Answer;
use super::owner::Owner;
use super::{Added, ControlError, GuestEvent, PciBdf, PciDeviceInfo};
use crate::config::{
    ConfigError, DiskConfig, MEMORY_DEVICE, NetConfig, Removal, ResizeConfig, ResizeDiskConfig,
    VmConfig, VsockConfig,
};
use crate::host_devices::{Claim, OpenedDisk};
use crate::vm::Vm;

/// What can be asked about devices.
#[derive(Debug)]
pub(super) enum DeviceRequest {
    /// With its image open, if the owner has said so.
    AddDisk(DiskConfig, Option<OpenedDisk>),
    AddNet(NetConfig),
    AddVsock(VsockConfig),
    Remove(String),
    ResizeDisk(ResizeDiskConfig),
    Resize(ResizeConfig),
}

impl From<ConfigError> for ControlError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::DuplicateId(id) => Self::IdTaken(id),
            ConfigError::Leaving(id) => Self::IdLeaving(id),
            error => Self::InvalidConfig(error.to_string()),
        }
    }
}

impl Owner {
    pub(super) fn change_devices(
        &mut self,
        request: DeviceRequest,
    ) -> Result<Answer, ControlError> {
        let config = self.published.config.load_full().ok_or(ControlError::NotCreated)?;
        let leaving = self.leaving();
        match request {
            DeviceRequest::AddDisk(disk, opened) => {
                self.add_disk(config.with_disk(disk, &leaving)?, opened)
            }
            DeviceRequest::AddNet(net) => self.add(config.with_net(net, &leaving)?),
            DeviceRequest::AddVsock(vsock) => self.add(config.with_vsock(vsock, &leaving)?),
            DeviceRequest::Remove(id) => self.remove_device(&config, &id),
            DeviceRequest::ResizeDisk(resize) => self.resize_disk(&config, &resize),
            DeviceRequest::Resize(resize) => self.resize(&config, &resize),
        }
    }

    fn add(&mut self, (changed, id): (VmConfig, String)) -> Result<Answer, ControlError> {
        let added = match self.plug(&changed, &id)? {
            Some(bdf) => Added::Plugged(PciDeviceInfo { id, bdf }),
            None => Added::Configured,
        };
        self.published.config.store(Some(Arc::new(changed)));
        Ok(Answer::Added(added))
    }

    /// Adds a disk to a VM that has no machine yet, or one that was opened for it. Which id it gets may be another one each time it is asked.
    fn add_disk(
        &mut self,
        (changed, id): (VmConfig, String),
        opened: Option<OpenedDisk>,
    ) -> Result<Answer, ControlError> {
        if self.vm.is_some() {
            match opened {
                Some(opened) if opened.id() == id => self.host.adopt(opened),
                Some(_) | None => return Ok(Answer::Opens(id)),
            }
        }
        self.add((changed, id))
    }

    fn remove_device(&mut self, config: &VmConfig, id: &str) -> Result<Answer, ControlError> {
        let changed = match config.without_device(id) {
            Removal::Removed(changed) => changed,
            Removal::Fixed => {
                let problem = format!(
                    "{id} is part of the VM for good; disks, network devices and the vsock can be removed"
                );
                return Err(ControlError::InvalidConfig(problem));
            }
            Removal::Unknown if self.leaving().contains(id) => {
                // A guest that has missed the first request gets another one.
                return self.ask_again(id);
            }
            Removal::Unknown => return Err(ControlError::no_device(id, config.device_ids())),
        };
        self.unplug(id)?;
        self.published.config.store(Some(Arc::from(changed)));
        Ok(Answer::Done)
    }

    fn resize_disk(
        &mut self,
        config: &VmConfig,
        resize: &ResizeDiskConfig,
    ) -> Result<Answer, ControlError> {
        resize.validate()?;
        if config.disk(&resize.id).is_none() {
            let disks = config.disks.iter().filter_map(|disk| disk.id.clone()).collect();
            return Err(ControlError::no_device(&resize.id, disks));
        }
        self.resize_image(&resize.id, resize.desired_size)?;
        Ok(Answer::Done)
    }

    fn resize(&mut self, config: &VmConfig, resize: &ResizeConfig) -> Result<Answer, ControlError> {
        let changed = config.resized(resize)?;
        let vcpus = self.prepare_vcpus(config, resize)?;
        let devices = self.resize_devices(&changed, resize);
        if let Err(error) = devices {
            self.abandon_vcpus(vcpus);
            return Err(error);
        }
        self.commit_vcpus(vcpus);
        self.published.config.store(Some(Arc::new(changed)));
        Ok(Answer::Done)
    }

    /// Makes the device `id` of `config`, which the machine has not, and shows it to the guest; none
    /// without a machine.
    fn plug(&mut self, config: &VmConfig, id: &str) -> Result<Option<PciBdf>, ControlError> {
        let Some(vm) = &mut self.vm else { return Ok(None) };
        let consoles = self.published.consoles.load_full();
        let consoles = consoles.ok_or(ControlError::NotCreated)?;
        let plugged = self
            .host
            .open(config, &consoles, Claim::Now)
            .map_err(|error| error.to_string())
            .and_then(|()| self.host.find(id).ok_or_else(|| format!("{id} was not opened")))
            .and_then(|device| vm.plug(device).map_err(|error| format!("{id}: {error}")));
        match plugged {
            Ok(slot) => {
                self.publish_places();
                Ok(Some(place(slot)))
            }
            Err(error) => {
                self.host.forget(id);
                Err(ControlError::Failed(error))
            }
        }
    }

    /// Asks the guest, if there is one, to let go of the device `id`, which ends when it has.
    fn unplug(&mut self, id: &str) -> Result<(), ControlError> {
        if let Some(vm) = &mut self.vm {
            vm.ask_removal(id).map_err(|error| ControlError::Failed(format!("{id}: {error}")))?;
        }
        // Its card has it still, and what it holds open is closed with that.
        self.host.forget(id);
        Ok(())
    }

    /// Asks the guest once more for a device that is leaving. One that it has ejected needs only its last threads to end.
    fn ask_again(&mut self, id: &str) -> Result<Answer, ControlError> {
        if let Some(vm) = &mut self.vm
            && vm.device(id).is_some()
        {
            vm.ask_removal(id).map_err(|error| ControlError::Failed(format!("{id}: {error}")))?;
        }
        Ok(Answer::Done)
    }

    /// Gives the image of the disk `id` another size and tells the guest.
    fn resize_image(&mut self, id: &str, size: u64) -> Result<(), ControlError> {
        let vm = self.live("resize a disk of")?;
        let no_disk = || ControlError::Failed(format!("{id} is no disk that the guest has"));
        let (device, tell) = vm.device(id).ok_or_else(no_disk)?;
        let disk = device.disk().ok_or_else(no_disk)?;
        disk.resize(size).map_err(|error| ControlError::Failed(format!("{id}: {error}")))?;
        tell();
        Ok(())
    }

    /// What `resize` asks of the guest through its devices; `changed` is the configuration that it comes to, which has been checked.
    fn resize_devices(
        &mut self,
        changed: &VmConfig,
        resize: &ResizeConfig,
    ) -> Result<(), ControlError> {
        if let Some(size) = resize.desired_balloon {
            self.set_balloon(size)?;
        }
        if resize.desired_ram.is_some() {
            self.set_memory(changed.memory.requested())?;
        }
        Ok(())
    }

    /// Tells the guest, if there is one, how many bytes it is to give back.
    fn set_balloon(&mut self, size: u64) -> Result<(), ControlError> {
        let config = self.published.config.load_full();
        let id = config.as_ref().and_then(|config| config.balloon.as_ref()?.id.as_deref());
        if let (Some(id), Some(vm)) = (id, &self.vm)
            && let Some((device, tell)) = vm.device(id)
            && let Some(balloon) = device.balloon()
        {
            let failed = |error| ControlError::Failed(format!("{id}: {error}"));
            balloon.set_target(size).map_err(failed)?;
            tell();
        }
        Ok(())
    }

    /// Tells the guest, if there is one with memory to plug, how many bytes of it are to be plugged.
    fn set_memory(&mut self, size: u64) -> Result<(), ControlError> {
        if let Some(vm) = &self.vm
            && let Some((device, tell)) = vm.device(MEMORY_DEVICE)
            && let Some(memory) = device.memory()
        {
            let failed = |error| ControlError::Failed(format!("{MEMORY_DEVICE}: {error}"));
            memory.set_requested(size).map_err(failed)?;
            tell();
        }
        Ok(())
    }

    /// Takes devices apart that the guest has let go of. One that it was not asked for leaves the configuration, too.
    pub(super) fn collect_ejected(&mut self) {
        let Some(unasked) = self.vm.as_mut().and_then(Vm::collect_ejected) else { return };
        for id in unasked {
            tracing::info!("the guest has ejected {id}, unasked");
            self.published.guest.count(GuestEvent::Ejected);
            self.end_transfer(&format!("the guest has ejected {id}"));
            self.host.forget(&id);
            if let Some(config) = self.published.config.load_full()
                && let Removal::Removed(changed) = config.without_device(&id)
            {
                self.published.config.store(Some(Arc::from(changed)));
            }
        }
        self.publish_places();
    }

    /// Ids of devices that the guest has been asked to let go of and has not yet, or whose last threads end.
    fn leaving(&self) -> BTreeSet<String> {
        self.vm.iter().flat_map(|vm| vm.leaving().map(str::to_owned)).collect()
    }

    /// Where the guest finds its devices, for `vm.info`.
    pub(super) fn publish_places(&self) {
        let places = self.vm.as_ref().map(|vm| {
            Arc::new(vm.slots().map(|(id, slot)| (id.to_owned(), place(slot))).collect())
        });
        self.published.places.store(places);
    }
}

fn place(slot: Slot) -> PciBdf {
    PciBdf { segment: 0, bus: 0, device: slot.number(), function: 0 }
}
