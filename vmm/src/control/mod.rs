//! What can be asked of a VMM: the one interface between the API (or a test) and the thread
//! that owns the VM.

mod adding;
mod arrival;
mod asking;
mod beginning;
mod booting;
mod core;
mod cpus;
mod device_tree;
mod devices;
mod doubt;
mod ending;
mod error;
mod guest_counts;
mod guest_events;
mod inbox;
mod line;
mod message;
mod owner;
mod phase;
mod published;
mod transfer;
mod vmm;

use std::collections::BTreeMap;
use std::time::Instant;

use ::devices::virtio::VirtioDevice;
use serde::{Deserialize, Serialize};
use vcpu_state::sync::Arc;

use crate::config::{
    DiskConfig, LinkUrl, NetConfig, ReceiveMigrationConfig, ResizeConfig, ResizeDiskConfig,
    ResolveConfig, RestoreConfig, SendMigrationConfig, SnapshotConfig, VmConfig, VsockConfig,
};
use crate::consoles::OpenTerminal;
use crate::host_devices::OpenDisk;
use crate::migration::TransferInfo;
pub use crate::vm::Wake;

pub use device_tree::{
    Added, DeviceKind, DeviceNode, DeviceTree, NotABdf, PciBdf, PciDeviceInfo, device_tree,
};
pub use ending::{EndAsked, Ends};
pub use error::ControlError;
pub use inbox::Inbox;
pub(crate) use line::{Begun, Keep, Line, Outcome};
pub use phase::{AtomicPhase, Consequence, GuestEvent, Move, Phase};
pub use vmm::{Ended, Vmm, VmmThread};

/// How a VMM is started.
#[derive(Default)]
pub struct VmmOptions {
    /// The VM's name, shown in `vm.info`.
    pub name: Option<String>,
    /// When the process started, if the first boot's time is to count from then.
    pub started: Option<Instant>,
    /// Opens what a console in mode `Tty` is attached to; without it that mode is an error.
    pub open_terminal: Option<OpenTerminal>,
    /// Called once, when the first VM has been built and before its vCPUs run: what it prints comes
    /// before what the guest prints, and only if there will be a guest.
    pub on_first_boot: Option<Box<dyn FnOnce() + Send>>,
    /// Devices of the embedder's own, which every VM has besides those of its configuration, under names that the
    /// configuration does not use. They are in `vm.counters`, and nowhere in `vm.info`.
    pub devices: Vec<Arc<dyn VirtioDevice>>,
    /// Opens images of disks in place of [`BlockDevice::open`](::devices::virtio::block::BlockDevice::open). Those of disks that are added are
    /// opened on the thread that asks for that, where it may take its time.
    pub open_disk: Option<OpenDisk>,
    /// What becomes of the VMM when its VM ends by itself.
    pub vm_end: VmEnd,
    /// Called on the control thread when the VM has ended by itself, or the VMM has ended; must not
    /// block.
    pub on_end: Option<OnEnd>,
}

/// Hears of an end.
pub type OnEnd = Box<dyn Fn(&Ended) + Send>;

/// What becomes of a VMM when its VM ends by itself (the guest switches itself off, or fails).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VmEnd {
    /// It stays; the VM is shut down and can be booted again.
    #[default]
    VmmStays,
    /// It ends, too.
    VmmEnds,
}

/// The phase of a VM, with Cloud Hypervisor's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmState {
    /// Created or shut down; no vCPU exists.
    Created,
    /// vCPUs run.
    Running,
    /// Shut down after having run.
    Shutdown,
    /// Every vCPU and worker is quiescent.
    Paused,
}

/// What `vm.info` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VmInfo {
    /// As it was created, with paths of pseudo-terminals filled in.
    pub config: VmConfig,
    /// Its phase.
    pub state: VmState,
    /// The devices that have ids, by these.
    #[serde(default)]
    pub device_tree: DeviceTree,
    /// Bytes of RAM that the guest has now, with what is plugged.
    pub memory_actual_size: u64,
    /// Bytes of its RAM that are still to come, while it runs already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_missing_bytes: Option<u64>,
    /// What is to be plugged and what is, if memory can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_hotplug: Option<MemoryHotplugInfo>,
    /// Name given with `--name`, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why the VM ended, when it ended by an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// One line a vCPU.
    pub vcpus: Vec<VcpuInfo>,
    /// The last pause, in microseconds from the request to quiescent, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_pause_us: Option<u64>,
    /// The last resume, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_resume_us: Option<u64>,
    /// From the start of the VMM process (or of `vm.boot`) to Running, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_us: Option<u64>,
    /// Process id of the VMM.
    pub pid: u32,
}

/// Memory that is plugged through virtio-mem, in `vm.info`. The two differ for as long as the guest is at it, or cannot do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryHotplugInfo {
    /// Bytes that are to be plugged.
    pub requested_size: u64,
    /// Bytes that are.
    pub plugged_size: u64,
}

/// One vCPU in `vm.info`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VcpuInfo {
    /// Index, from 0.
    pub index: u32,
    /// The raw lifecycle word.
    pub word: u64,
    /// The word, decoded for people: `RUN|IN_GUEST epoch=3`.
    pub state: String,
    /// Where it is on its way into the guest or out of it; nothing for one that is simply there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotplug: Option<VcpuHotplug>,
}

/// Where a vCPU is that comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VcpuHotplug {
    /// It is there, and the guest has not heard of it yet.
    Inserting,
    /// The guest has been asked for it and has not let go of it. Resizing back takes that back.
    Removing,
    /// The guest has let go of it, and its thread has not ended yet.
    Ejected,
}

/// What `vm.counters` answers: device or vCPU group name → counter name → value.
pub type Counters = BTreeMap<String, BTreeMap<String, u64>>;

/// The requests of the API, in its order. Each returns when it is done.
pub trait VmmControl: Send + Sync {
    /// Makes a VM out of a configuration; it does not run yet.
    fn create(&self, config: VmConfig) -> Result<(), ControlError>;
    /// Boots the VM that was created.
    fn boot(&self) -> Result<(), ControlError>;
    /// Returns when every vCPU is quiescent.
    fn pause(&self) -> Result<(), ControlError>;
    /// Returns when no vCPU is held any longer. Their threads wake when the answer is dropped, so
    /// that a server can tell its client first, before the vCPUs want the processors.
    fn resume(&self) -> Result<Wake, ControlError>;
    /// Ends the vCPUs; the VM can be booted again.
    fn shutdown(&self) -> Result<(), ControlError>;
    /// Ends the vCPUs and boots again, in place.
    fn reboot(&self) -> Result<(), ControlError>;
    /// Removes the VM, shutting it down first.
    fn delete(&self) -> Result<(), ControlError>;
    /// Sends a non-maskable interrupt to every vCPU.
    fn nmi(&self) -> Result<(), ControlError>;
    /// Presses the power button; what comes of it is the guest's to say. One that is paused learns of it when it goes on.
    fn power_button(&self) -> Result<(), ControlError>;
    /// Adds a disk: to the configuration of a VM without vCPUs, to the bus of one that has some.
    fn add_disk(&self, disk: DiskConfig) -> Result<Added, ControlError>;
    /// The same for a network device.
    fn add_net(&self, net: NetConfig) -> Result<Added, ControlError>;
    /// The same for the vsock.
    fn add_vsock(&self, vsock: VsockConfig) -> Result<Added, ControlError>;
    /// Removes a disk, a network device or the vsock. A guest that has it is asked to let go of it;
    /// until it has, the id is taken.
    fn remove_device(&self, id: &str) -> Result<(), ControlError>;
    /// Gives the image of a disk another size and tells the guest.
    fn resize_disk(&self, resize: ResizeDiskConfig) -> Result<(), ControlError>;
    /// Changes how many vCPUs the guest has, how much memory is to be plugged, and how much the guest is to give back through its balloon.
    /// Of memory and balloon the newest request counts, also while the guest is at an older one.
    fn resize(&self, resize: ResizeConfig) -> Result<(), ControlError>;
    /// Phase, configuration, vCPUs.
    fn info(&self) -> Result<VmInfo, ControlError>;
    /// Event counts.
    fn counters(&self) -> Result<Counters, ControlError>;
    /// Saves the VM into a directory; running or paused, it is afterwards as it was.
    fn snapshot(&self, config: SnapshotConfig) -> Result<(), ControlError>;
    /// Makes a VM out of a snapshot.
    fn restore(&self, config: RestoreConfig) -> Result<(), ControlError>;
    /// Sends the VM to a VMM that waits for it, and returns when it is there, with what that took. If it fails, the VM is here, as it was; or in doubt, as
    /// the error says.
    fn send_migration(&self, config: SendMigrationConfig) -> Result<TransferInfo, ControlError>;
    /// Waits for a VM of another VMM and returns when it is here. `listening` is told where, as soon as one may come.
    fn receive_migration(
        &self,
        config: ReceiveMigrationConfig,
        listening: &(dyn Fn(&LinkUrl) + Sync),
    ) -> Result<(), ControlError>;
    /// How far the transfer is that is under way, or what the last one came to.
    fn migration_progress(&self) -> Result<TransferInfo, ControlError>;
    /// Ends the transfer that is under way; a VM that was to go is as it was when the transfer's own request is answered.
    fn migration_cancel(&self) -> Result<(), ControlError>;
    /// Says whose a VM in doubt is.
    fn migration_resolve(&self, config: ResolveConfig) -> Result<(), ControlError>;
    /// Ends the VM and the VMM.
    fn vmm_shutdown(&self) -> Result<(), ControlError>;
}
