//! What may be asked of a VMM ([`VmmControl`]), and which way each of it goes.
//!
//! ```text
//!   most of it              ─▶ a request to the owner, who answers it in its turn
//!   snapshots, migrations   ─▶ a worker thread, which asks the owner for what only that may do (`Line`)
//!   what is asked for often ─▶ read where the owner has published it: nobody is waited for
//! ```

use super::devices::DeviceRequest;
use super::message::{Answer, Request};
use super::{Added, ControlError, Counters, VmInfo, Vmm, VmmControl, Wake};
use crate::config::{
    DiskConfig, LinkUrl, NetConfig, ReceiveMigrationConfig, ResizeConfig, ResizeDiskConfig,
    ResolveConfig, RestoreConfig, SendMigrationConfig, SnapshotConfig, VmConfig, VsockConfig,
};
use crate::migration::{self, TransferInfo, on_worker};

impl VmmControl for Vmm {
    fn create(&self, config: VmConfig) -> Result<(), ControlError> {
        self.request(Request::Create(Box::new(config)))
    }

    fn boot(&self) -> Result<(), ControlError> {
        self.request(Request::Boot)
    }

    fn pause(&self) -> Result<(), ControlError> {
        self.request(Request::Pause)
    }

    fn resume(&self) -> Result<Wake, ControlError> {
        match self.ask(Request::Resume)? {
            Answer::Resumed(wake) => Ok(wake),
            _ => Ok(Wake::none()),
        }
    }

    fn shutdown(&self) -> Result<(), ControlError> {
        self.request(Request::Shutdown)
    }

    fn reboot(&self) -> Result<(), ControlError> {
        self.request(Request::Reboot)
    }

    fn delete(&self) -> Result<(), ControlError> {
        self.request(Request::Delete)
    }

    fn nmi(&self) -> Result<(), ControlError> {
        self.request(Request::Nmi)
    }

    fn power_button(&self) -> Result<(), ControlError> {
        self.request(Request::PowerButton)
    }

    fn add_disk(&self, disk: DiskConfig) -> Result<Added, ControlError> {
        self.open_and_add(&disk)
    }

    fn add_net(&self, net: NetConfig) -> Result<Added, ControlError> {
        self.add(DeviceRequest::AddNet(net))
    }

    fn add_vsock(&self, vsock: VsockConfig) -> Result<Added, ControlError> {
        self.add(DeviceRequest::AddVsock(vsock))
    }

    fn remove_device(&self, id: &str) -> Result<(), ControlError> {
        self.change(DeviceRequest::Remove(id.to_owned()))
    }

    fn resize_disk(&self, resize: ResizeDiskConfig) -> Result<(), ControlError> {
        self.change(DeviceRequest::ResizeDisk(resize))
    }

    fn resize(&self, resize: ResizeConfig) -> Result<(), ControlError> {
        self.change(DeviceRequest::Resize(resize))
    }

    fn info(&self) -> Result<VmInfo, ControlError> {
        self.core.published.info()
    }

    fn counters(&self) -> Result<Counters, ControlError> {
        self.core.published.counters()
    }

    fn snapshot(&self, config: SnapshotConfig) -> Result<(), ControlError> {
        on_worker("snapshot", || migration::snapshot(&self.line(), &config))
    }

    fn restore(&self, config: RestoreConfig) -> Result<(), ControlError> {
        on_worker("restore", || migration::restore(&self.line(), &config))
    }

    fn send_migration(&self, config: SendMigrationConfig) -> Result<TransferInfo, ControlError> {
        on_worker("send", || migration::send(&self.line(), &config))
    }

    fn receive_migration(
        &self,
        config: ReceiveMigrationConfig,
        listening: &(dyn Fn(&LinkUrl) + Sync),
    ) -> Result<(), ControlError> {
        on_worker("receive", || migration::receive(&self.line(), &config, listening))
    }

    fn migration_progress(&self) -> Result<TransferInfo, ControlError> {
        let transfer = self.core.published.transfer.load_full();
        transfer.map(|transfer| transfer.info()).ok_or(ControlError::NoTransfer)
    }

    fn migration_cancel(&self) -> Result<(), ControlError> {
        let transfer = self.core.published.transfer.load_full();
        let transfer = transfer.filter(|transfer| !transfer.info().state.is_final());
        let transfer = transfer.ok_or(ControlError::NoTransfer)?;
        transfer.end("it was cancelled").map_err(|_| ControlError::TooLate)
    }

    fn migration_resolve(&self, config: ResolveConfig) -> Result<(), ControlError> {
        self.line().resolve(config.resolution)
    }

    fn vmm_shutdown(&self) -> Result<(), ControlError> {
        self.request(Request::VmmShutdown)
    }
}
