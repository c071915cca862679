//! The host's ends of a VM's devices: open images, taps, sockets, with the virtio devices around them.
//!
//! ```text
//!   VmConfig ──open──▶ HostDevice ──plug──▶ a card in the VM ──(reboot: unplugged and plugged again)──▶ …
//!                          └── dropped with the last of: its card, the list here
//! ```
//!
//! They are opened at the first boot, or when they are added, and outlive reboots: an image stays locked and a tap keeps its
//! packets while the guest restarts.

mod convert;
mod disk;
mod error;
mod ram;

use devices::CounterSource;
use devices::virtio::VirtioDevice;
use devices::virtio::balloon::Balloon;
use devices::virtio::block::BlockDevice;
use devices::virtio::console::VirtioConsole;
use devices::virtio::mem::MemDevice;
use devices::virtio::net::Net;
use devices::virtio::rng::Rng;
use devices::virtio::vsock::Vsock;
use migration::engine::AdoptedDisks;
use vcpu_state::sync::Arc;

use crate::config::{MEMORY_DEVICE, VmConfig, VsockConfig};
use crate::consoles::Consoles;
use crate::memory::GuestRam;
use disk::{open_image, open_passed, open_unclaimed};
use ram::{BalloonRam, HotRam};

pub use disk::{OpenDisk, OpenedDisk};
pub use error::OpenDeviceError;

/// When the locks of disks' images are taken.
#[derive(Debug)]
pub enum Claim {
    /// When they are opened.
    Now,
    /// By [`BlockDevice::claim`]: another VMM has them still.
    Later,
    /// By the same; it has passed the images of all disks.
    Passed(AdoptedDisks),
}

/// What kind of device it is, with what is only that kind's.
enum Kind {
    Disk(Arc<BlockDevice>),
    Net(Arc<Net>),
    Rng(Arc<Rng>),
    Console(Arc<VirtioConsole>),
    Vsock(Arc<Vsock>),
    Balloon(Arc<Balloon>, Arc<BalloonRam>),
    Memory(Arc<MemDevice>),
    Own(Arc<dyn VirtioDevice>),
}

/// One device.
pub struct HostDevice {
    id: String,
    kind: Kind,
}

impl HostDevice {
    /// A device of a type that the VMM does not know, with what it is called as its id.
    #[must_use]
    pub fn of_device(device: Arc<dyn VirtioDevice>) -> Self {
        Self { id: device.name().to_owned(), kind: Kind::Own(device) }
    }

    /// What it is called.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As its transport sees it, in a VM that has this RAM.
    pub fn virtio(&self, ram: &GuestRam) -> Arc<dyn VirtioDevice> {
        match &self.kind {
            Kind::Disk(disk) => Arc::clone(disk) as _,
            Kind::Net(net) => Arc::clone(net) as _,
            Kind::Rng(rng) => Arc::clone(rng) as _,
            Kind::Console(console) => Arc::clone(console) as _,
            Kind::Vsock(vsock) => Arc::clone(vsock) as _,
            Kind::Balloon(balloon, of) => {
                of.meet(ram);
                Arc::clone(balloon) as _
            }
            Kind::Memory(memory) => {
                // A machine that starts has nothing plugged, also after a reboot: the guest plugs again what it is asked for.
                memory.start(Arc::new(HotRam(ram.clone())));
                Arc::clone(memory) as _
            }
            Kind::Own(device) => Arc::clone(device),
        }
    }

    /// Its disk, if it is one.
    pub fn disk(&self) -> Option<&BlockDevice> {
        if let Kind::Disk(disk) = &self.kind { Some(disk) } else { None }
    }

    /// Its balloon, if it is one.
    pub fn balloon(&self) -> Option<&Balloon> {
        if let Kind::Balloon(balloon, _) = &self.kind { Some(balloon) } else { None }
    }

    /// The memory that is plugged through it, if it is that device.
    pub fn memory(&self) -> Option<&Arc<MemDevice>> {
        if let Kind::Memory(memory) = &self.kind { Some(memory) } else { None }
    }
}

impl CounterSource for HostDevice {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        match &self.kind {
            Kind::Disk(disk) => disk.counters(),
            Kind::Net(net) => net.counters(),
            Kind::Rng(rng) => rng.counters(),
            Kind::Console(console) => console.counters(),
            Kind::Vsock(vsock) => vsock.counters(),
            Kind::Balloon(balloon, _) => balloon.counters(),
            Kind::Memory(memory) => memory.counters(),
            Kind::Own(_) => Vec::new(),
        }
    }
}

/// The devices of a VM, in the order in which they get their slots.
#[derive(Default)]
pub struct HostDevices {
    devices: Vec<Arc<HostDevice>>,
    /// The embedder's, which every VM has.
    own: Vec<Arc<HostDevice>>,
    /// What opens images, if not the usual.
    open_disk: Option<OpenDisk>,
}

impl HostDevices {
    /// Of a VMM whose embedder brings devices of its own.
    #[must_use]
    pub fn with_own(own: &[Arc<dyn VirtioDevice>], open_disk: Option<&OpenDisk>) -> Self {
        let own = own.iter().map(|device| HostDevice::of_device(Arc::clone(device)));
        let open_disk = open_disk.map(Arc::clone);
        Self { devices: Vec::new(), own: own.map(Arc::new).collect(), open_disk }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<HostDevice>> {
        self.devices.iter().chain(&self.own)
    }

    /// Opens what the configuration has and is not open yet.
    ///
    /// # Errors
    /// The first that cannot be opened. Those opened before stay as they are, so that another try finds them.
    pub fn open(
        &mut self,
        config: &VmConfig,
        consoles: &Consoles,
        mut claim: Claim,
    ) -> Result<(), OpenDeviceError> {
        let open_disk = self.open_disk.clone();
        for disk in &config.disks {
            self.open_one(disk.id.as_ref(), |id| {
                let opened = match &mut claim {
                    Claim::Now => open_image(id, disk, open_disk.as_ref())?,
                    Claim::Later => open_unclaimed(id, disk)?,
                    Claim::Passed(disks) => open_passed(id, disk, disks)?,
                };
                Ok(Kind::Disk(Arc::new(opened)))
            })?;
        }
        for net in &config.net {
            self.open_one(net.id.as_ref(), |id| {
                let options = convert::net(id, net)?;
                let failed = |source| OpenDeviceError::Net { id: id.to_owned(), source };
                Ok(Kind::Net(Arc::new(Net::new(id.to_owned(), options).map_err(failed)?)))
            })?;
        }
        if let Some(rng) = &config.rng {
            self.open_one(rng.id.as_ref(), |id| Ok(Kind::Rng(Arc::new(Rng::open(id, &rng.src)?))))?;
        }
        if let Some(host) = &consoles.console {
            self.open_one(config.console.id.as_ref(), |id| {
                let output = Arc::clone(host.port()) as _;
                let console = VirtioConsole::new(id, output);
                let console = Arc::new(console.map_err(OpenDeviceError::Console)?);
                // Last: input finds a device that can take it.
                host.port().attach(&console);
                Ok(Kind::Console(console))
            })?;
        }
        if let Some(vsock) = &config.vsock {
            self.open_one(vsock.id.as_ref(), |id| open_vsock(id, vsock))?;
        }
        if let Some(balloon) = &config.balloon {
            self.open_one(balloon.id.as_ref(), |id| {
                let ram = Arc::new(BalloonRam::default());
                let options = convert::balloon(balloon);
                let balloon = Balloon::new(id.to_owned(), options, Arc::clone(&ram) as _)?;
                Ok(Kind::Balloon(Arc::new(balloon), ram))
            })?;
        }
        if let Some(options) = convert::memory(config) {
            self.open_one(Some(&MEMORY_DEVICE.to_owned()), |id| {
                Ok(Kind::Memory(Arc::new(MemDevice::new(id.to_owned(), options)?)))
            })?;
        }
        Ok(())
    }

    /// The one with this id.
    pub fn find(&self, id: &str) -> Option<&Arc<HostDevice>> {
        self.devices.iter().find(|device| device.id == id)
    }

    /// Lets go of one; its host side closes with its card, if it has one.
    pub fn forget(&mut self, id: &str) {
        self.devices.retain(|device| device.id != id);
    }

    /// Lets go of all but the embedder's own.
    pub fn clear(&mut self) {
        self.devices.clear();
    }

    fn open_one(
        &mut self,
        id: Option<&String>,
        open: impl FnOnce(&str) -> Result<Kind, OpenDeviceError>,
    ) -> Result<(), OpenDeviceError> {
        let id = id.ok_or(OpenDeviceError::NoId)?;
        if self.find(id).is_none() {
            let kind = open(id)?;
            self.devices.push(Arc::new(HostDevice { id: id.clone(), kind }));
        }
        Ok(())
    }
}

fn open_vsock(id: &str, vsock: &VsockConfig) -> Result<Kind, OpenDeviceError> {
    let failed = |source| OpenDeviceError::Vsock { id: id.to_owned(), source };
    // A number that is too large for one is none that the device takes.
    let cid = u32::try_from(vsock.cid).unwrap_or(u32::MAX);
    Ok(Kind::Vsock(Arc::new(Vsock::bind(id, cid, &vsock.socket).map_err(failed)?)))
}
