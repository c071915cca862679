//! How images of disks are opened, and disks that are opened before a VM has them.
//!
//! Opening takes as long as the host's storage does, and a qcow2 image is checked for consistency as well: for a large one seconds. The
//! owner of a VM that runs has no such time, because pauses wait for it. So a disk that is added is opened by the thread that brings
//! the request, and the owner adopts it.

use devices::virtio::block::{BlockDevice, BlockError, BlockOptions, ImageFiles};
use migration::engine::AdoptedDisks;
use vcpu_state::sync::Arc;

use super::{HostDevice, HostDevices, Kind, OpenDeviceError, convert};
use crate::config::DiskConfig;

/// Opens an image, and takes its lock.
pub type OpenDisk = Arc<dyn Fn(BlockOptions) -> Result<BlockDevice, BlockError> + Send + Sync>;

/// A disk that no VM has yet. Its drop closes it.
pub struct OpenedDisk(HostDevice);

impl std::fmt::Debug for OpenedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenedDisk").field(&self.0.id).finish()
    }
}

impl OpenedDisk {
    /// Opens it. Blocks for as long as the host's storage does.
    ///
    /// # Errors
    /// The image cannot be opened, is none, or another VM has it.
    pub fn open(
        id: &str,
        disk: &DiskConfig,
        open: Option<&OpenDisk>,
    ) -> Result<Self, OpenDeviceError> {
        let kind = Kind::Disk(Arc::new(open_image(id, disk, open)?));
        Ok(Self(HostDevice { id: id.to_owned(), kind }))
    }

    /// What it is called.
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

impl HostDevices {
    /// Takes a disk that is open already; [`open`](Self::open) finds it then.
    pub fn adopt(&mut self, disk: OpenedDisk) {
        self.devices.push(Arc::new(disk.0));
    }
}

pub(super) fn open_image(
    id: &str,
    disk: &DiskConfig,
    open: Option<&OpenDisk>,
) -> Result<BlockDevice, OpenDeviceError> {
    let options = convert::disk(id, disk);
    let opened = match open {
        Some(open) => open(options),
        None => BlockDevice::open(options),
    };
    opened.map_err(|source| OpenDeviceError::Disk { id: id.to_owned(), source })
}

/// An image that another VMM has still.
pub(super) fn open_unclaimed(id: &str, disk: &DiskConfig) -> Result<BlockDevice, OpenDeviceError> {
    let opened = BlockDevice::open_unclaimed(convert::disk(id, disk));
    opened.map_err(|source| OpenDeviceError::Disk { id: id.to_owned(), source })
}

/// An image that another VMM has still, and has passed.
pub(super) fn open_passed(
    id: &str,
    disk: &DiskConfig,
    passed: &mut AdoptedDisks,
) -> Result<BlockDevice, OpenDeviceError> {
    let files =
        passed.remove(id).ok_or_else(|| OpenDeviceError::NotPassed { id: id.to_owned() })?;
    let files = ImageFiles {
        image: files.image.into(),
        direct: files.direct.map(Into::into),
        backing: files.backing.into_iter().map(Into::into).collect(),
    };
    let opened = BlockDevice::open_passed(convert::disk(id, disk), files);
    opened.map_err(|source| OpenDeviceError::Disk { id: id.to_owned(), source })
}
