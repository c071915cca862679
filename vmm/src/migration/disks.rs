//! The disks of a VM, of which only one VMM at a time may have the locks.

use devices::virtio::block::{BlockDevice, BlockError, ImageFiles};
use migration::engine::DiskFiles;
use vcpu_state::sync::Arc;

use crate::host_devices::{HostDevice, OpenDeviceError};

/// The disks of one VM.
#[derive(Clone, Default)]
pub(crate) struct Disks(Vec<Arc<HostDevice>>);

impl Disks {
    pub(crate) fn of<'d>(devices: impl Iterator<Item = &'d Arc<HostDevice>>) -> Self {
        Self(devices.filter(|device| device.disk().is_some()).map(Arc::clone).collect())
    }

    /// Makes what was written to them last on the host's storage.
    ///
    /// # Errors
    /// The storage refuses.
    pub(crate) fn sync(&self) -> Result<(), BlockError> {
        self.each(BlockDevice::sync)
    }

    /// Gives up their locks. Nobody may write them any more.
    ///
    /// # Errors
    /// What was written cannot be made to last; some are given up then.
    pub(crate) fn release(&self) -> Result<(), BlockError> {
        self.each(BlockDevice::release)
    }

    /// Takes the locks that it does not have.
    ///
    /// # Errors
    /// Somebody else has one; those before it are taken.
    pub(crate) fn claim(&self) -> Result<(), BlockError> {
        self.each(BlockDevice::claim)
    }

    /// All of their files, open through descriptions of their own, for another VMM, with the disks' ids.
    ///
    /// # Errors
    /// The host does not open one anew; the error names the disk.
    pub(crate) fn files(&self) -> Result<Vec<(&str, DiskFiles)>, OpenDeviceError> {
        let disks = self.0.iter().filter_map(|device| Some((device.id(), device.disk()?)));
        let files = disks.map(|(id, disk)| match disk.files() {
            Ok(files) => Ok((id, passed(files))),
            Err(source) => Err(OpenDeviceError::Disk { id: id.to_owned(), source }),
        });
        files.collect()
    }

    fn each(&self, act: impl Fn(&BlockDevice) -> Result<(), BlockError>) -> Result<(), BlockError> {
        self.0.iter().filter_map(|device| device.disk()).try_for_each(act)
    }
}

fn passed(files: ImageFiles) -> DiskFiles {
    DiskFiles {
        image: files.image.into(),
        direct: files.direct.map(Into::into),
        backing: files.backing.into_iter().map(Into::into).collect(),
    }
}
