//! The commands about single devices of a VM, and about its size.
use std::path::{Path, PathBuf};

use serde::Serialize;
use vmm::config::{
    DiskConfig, NetConfig, RemoveDeviceConfig, ResizeConfig, ResizeDiskConfig, VsockConfig,
    parse_size,
};
use vmm::control::PciDeviceInfo;

use crate::args::{AddDisk, AddNet, AddVsock, RemoveDevice, Resize, ResizeDisk, Target};
use crate::failure::Failure;
use crate::output::print;
use crate::target::find;

/// `add-disk`.
pub fn add_disk(options: &AddDisk) -> Result<(), Failure> {
    let mut disk = options.disk.parse::<DiskConfig>().map_err(|error| usage(&error))?;
    disk.path = absolute(&disk.path)?;
    add(&options.target, "vm.add-disk", &disk)
}

/// `add-net`.
pub fn add_net(options: &AddNet) -> Result<(), Failure> {
    let net = options.net.parse::<NetConfig>().map_err(|error| usage(&error))?;
    if !net.fds.is_empty() {
        return Err(Failure::Usage(
            "fd=: descriptors of this process mean nothing to the VM's; give a tap, \
             or the descriptors to `stillpoint run`"
                .to_owned(),
        ));
    }
    add(&options.target, "vm.add-net", &net)
}

/// `add-vsock`.
pub fn add_vsock(options: &AddVsock) -> Result<(), Failure> {
    let mut vsock = options.vsock.parse::<VsockConfig>().map_err(|error| usage(&error))?;
    vsock.socket = absolute(&vsock.socket)?;
    add(&options.target, "vm.add-vsock", &vsock)
}

/// `remove-device`.
pub fn remove(options: &RemoveDevice) -> Result<(), Failure> {
    tell(&options.target, "vm.remove-device", &RemoveDeviceConfig { id: options.id.clone() })
}

/// `resize-disk`.
pub fn resize_disk(options: &ResizeDisk) -> Result<(), Failure> {
    let (name, id, size) = match options.words.as_slice() {
        [id, size] => (None, id, size),
        [name, id, size] if options.api_socket.is_none() => (Some(name.clone()), id, size),
        _ => {
            let message = "give a disk's id and a size; VM and --api-socket exclude each other";
            return Err(Failure::Usage(message.to_owned()));
        }
    };
    let target = Target { name, api_socket: options.api_socket.clone() };
    let resize = ResizeDiskConfig { id: id.clone(), desired_size: size_of(size)? };
    resize.validate().map_err(|error| usage(&error))?;
    tell(&target, "vm.resize-disk", &resize)
}

/// `resize`.
pub fn resize(options: &Resize) -> Result<(), Failure> {
    let size = |text: &Option<String>| text.as_deref().map(size_of).transpose();
    let resize = ResizeConfig {
        desired_vcpus: options.cpus,
        desired_ram: size(&options.memory)?,
        desired_balloon: size(&options.balloon)?,
    };
    tell(&options.target, "vm.resize", &resize)
}

fn add(target: &Target, endpoint: &str, config: &impl Serialize) -> Result<(), Failure> {
    let mut found = find(target)?;
    let added: Option<PciDeviceInfo> =
        found.client.send(endpoint, config).map_err(|error| found.failure(&error))?;
    print(&match added {
        Some(device) => format!("{}: {} at {}\n", found.name, device.id, device.bdf),
        None => format!("{}: added; the guest has it from the next boot on\n", found.name),
    })
}

fn tell(target: &Target, endpoint: &str, body: &impl Serialize) -> Result<(), Failure> {
    let mut found = find(target)?;
    let told: Result<Option<serde_json::Value>, _> = found.client.send(endpoint, body);
    told.map(drop).map_err(|error| found.failure(&error))
}

/// A path as the VMM understands it, which may run elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::of(path.display(), &error))
}

fn size_of(text: &str) -> Result<u64, Failure> {
    parse_size(text).ok_or_else(|| {
        Failure::Usage(format!(
            "{text:?} is no size; expected a number of bytes, such as 512M or 2G"
        ))
    })
}

fn usage(error: &vmm::config::ConfigError) -> Failure {
    Failure::Usage(error.to_string())
}
