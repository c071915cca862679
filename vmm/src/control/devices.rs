//! Requests about single devices.
//!
//! ```text
//!                        ┌─ no vCPUs: the configuration changes; the next boot makes of it what it says
//!  request ─▶ checked ───┤
//!                        └─ vCPUs: the machine is asked (plug, unplug, …), then the configuration changes
//! ```
//!
//! Invariants: a request that is refused changes nothing; the configuration that `vm.info` shows is that
//! of the devices that the guest has or gets.

use std::collections::BTreeSet;

use vcpu_state::sync::Arc;

use super::message::Answer;
use super::owner::Owner;
use super::{Added, ControlError, PciBdf, PciDeviceInfo};
use crate::config::{
    ConfigError, DiskConfig, NetConfig, Removal, ResizeConfig, ResizeDiskConfig, VmConfig,
    VsockConfig,
};

/// What can be asked about devices.
#[derive(Debug)]
pub(super) enum DeviceRequest {
    AddDisk(DiskConfig),
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
        // Ids of devices that the guest has been asked to let go of and has not yet: none, because none
        // is asked.
        let leaving = BTreeSet::new();
        match request {
            DeviceRequest::AddDisk(disk) => self.add(config.with_disk(disk, &leaving)?),
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

    fn remove_device(&mut self, config: &VmConfig, id: &str) -> Result<Answer, ControlError> {
        let changed = match config.without_device(id) {
            Removal::Removed(changed) => changed,
            Removal::Fixed => {
                let problem = format!(
                    "{id} is part of the VM for good; disks, network devices and the vsock can be removed"
                );
                return Err(ControlError::InvalidConfig(problem));
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
        if let Some(size) = resize.desired_balloon {
            self.set_balloon(size)?;
        }
        self.published.config.store(Some(Arc::new(changed)));
        Ok(Answer::Done)
    }

    /// Makes the device `id` of `config`, which the machine has not, and shows it to the guest; none
    /// without a machine.
    fn plug(&mut self, _config: &VmConfig, id: &str) -> Result<Option<PciBdf>, ControlError> {
        match &mut self.vm {
            Some(_) => Err(while_it_runs(&format!("{id} cannot be added"))),
            None => Ok(None),
        }
    }

    /// Asks the guest, if there is one, to let go of the device `id`, which ends when it has.
    fn unplug(&mut self, id: &str) -> Result<(), ControlError> {
        match &mut self.vm {
            Some(_) => Err(while_it_runs(&format!("{id} cannot be removed"))),
            None => Ok(()),
        }
    }

    /// Gives the image of the disk `id` another size and tells the guest.
    fn resize_image(&mut self, id: &str, _size: u64) -> Result<(), ControlError> {
        self.live("resize a disk of")?;
        Err(while_it_runs(&format!("{id} cannot be resized")))
    }

    /// Tells the guest, if there is one, how many bytes it is to give back.
    fn set_balloon(&mut self, _size: u64) -> Result<(), ControlError> {
        match &mut self.vm {
            Some(_) => Err(while_it_runs("the balloon cannot be resized")),
            None => Ok(()),
        }
    }
}

fn while_it_runs(what: &str) -> ControlError {
    ControlError::Failed(format!("{what} while the VM has vCPUs; shut it down first (vm.shutdown)"))
}
