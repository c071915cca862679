//! What the owner of the VM can be told and asked.

use std::sync::mpsc::SyncSender;

use vcpu_state::PauseParts;

use super::devices::DeviceRequest;
use super::line::{Ask, Told};
use super::{Added, ControlError, EndAsked, Wake};
use crate::config::VmConfig;

/// What the owner is told.
pub(super) enum Message {
    /// A request, and where its answer goes.
    Request(Request, Reply),
    /// What a transfer's worker asks.
    Transfer(Ask, SyncSender<Result<Told, ControlError>>),
    /// A vCPU of the VM with this serial number cannot go on, or its memory is lost; the VM's end may have been announced.
    VcpuFailed { vm: u64, report: String, end: Option<EndAsked> },
}

/// Where the answer to a request goes.
pub(super) struct Reply {
    to: SyncSender<Result<Answer, ControlError>>,
    /// If the request is for an end: announced until it is answered, or can be no more.
    end: Option<EndAsked>,
}

impl Reply {
    pub(super) fn new(to: SyncSender<Result<Answer, ControlError>>, end: Option<EndAsked>) -> Self {
        Self { to, end }
    }

    /// Answers. The asker may have gone away.
    pub(super) fn send(self, answer: Result<Answer, ControlError>) {
        // First: what the asker does next is about what is there then.
        drop(self.end);
        let _ = self.to.send(answer);
    }
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

impl Request {
    /// Whether the VM ends by it, if it is carried out.
    pub(super) fn is_for_an_end(&self) -> bool {
        matches!(self, Self::Shutdown | Self::Reboot | Self::Delete | Self::VmmShutdown)
    }
}
