//! What the owner of the VM can be told and asked.

use std::sync::mpsc::SyncSender;

use vcpu_state::PauseParts;

use super::devices::DeviceRequest;
use super::line::{Ask, Told};
use super::{Added, ControlError, Wake};
use crate::config::VmConfig;

/// What the owner is told.
pub(super) enum Message {
    /// A request, and where its answer goes.
    Request(Request, SyncSender<Result<Answer, ControlError>>),
    /// What a transfer's worker asks.
    Transfer(Ask, SyncSender<Result<Told, ControlError>>),
    /// A vCPU of the VM with this serial number cannot go on.
    VcpuFailed { vm: u64, report: String },
}

/// What a request comes to.
pub(super) enum Answer {
    /// It is done.
    Done,
    /// The VM is resumed; its vCPU threads wake when this is dropped.
    Resumed(Wake),
    /// Where the time of the last pause went.
    Parts(PauseParts),
    /// What has become of a new device.
    Added(Added),
    /// The image of a new disk has to be opened first, under this id.
    Opens(String),
}

/// What can be asked of it.
#[derive(Debug)]
pub(super) enum Request {
    Create(Box<VmConfig>),
    Boot,
    Pause,
    Resume,
    Shutdown,
    Reboot,
    Delete,
    Nmi,
    PowerButton,
    PauseParts,
    RemoveVcpu(u32),
    AddVcpu(u32),
    Devices(Box<DeviceRequest>),
    VmmShutdown,
}
