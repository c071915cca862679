//! How a disk is added: its image is opened by the thread that asks for it.
//!
//! ```text
//!   add a disk ─▶ owner: checks it, and knows no open one ─▶ "opens, as ID" ─▶ this thread: open ─▶ owner: checks it again, adopts, plugs
//! ```
//!
//! Invariant: the owner, for whom pauses wait, opens no image while a VM runs.

use super::devices::DeviceRequest;
use super::message::{Answer, Request};
use super::{Added, ControlError, Vmm};
use crate::config::DiskConfig;
use crate::host_devices::{OpenDeviceError, OpenedDisk};

impl Vmm {
    /// Opens a disk's image on this thread, which may take long, and has the owner adopt it, who meanwhile has time for others.
    pub(super) fn open_and_add(&self, disk: &DiskConfig) -> Result<Added, ControlError> {
        let mut opened = None;
        loop {
            let request = DeviceRequest::AddDisk(disk.clone(), opened.take());
            match self.ask(Request::Devices(Box::new(request)))? {
                // Again only if another request has taken that id meanwhile, or given it back.
                Answer::Opens(id) => {
                    let failed = |error: OpenDeviceError| ControlError::Failed(error.to_string());
                    let disk = OpenedDisk::open(&id, disk, self.open_disk.as_ref());
                    opened = Some(disk.map_err(failed)?);
                }
                Answer::Added(added) => return Ok(added),
                _ => return Ok(Added::Configured),
            }
        }
    }
}
