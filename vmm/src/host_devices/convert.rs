//! From the configuration's shapes to the devices' options.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use devices::virtio::balloon::{BalloonOptions, Offered};
use devices::virtio::block::{Access, BackingFiles, BlockOptions, Caching, Engine, ImageType};
use devices::virtio::limit::{Limits, TokenBucket};
use devices::virtio::mem::MemOptions;
use devices::virtio::net::{HostAddress, MacAddress, NetOptions, Offloads};

use super::OpenDeviceError;
use crate::acpi::Nodes;
use crate::config::{self, BalloonConfig, DiskConfig, NetConfig, RateLimiterConfig, VmConfig};
use crate::memory::layout;

pub(super) fn disk(id: &str, disk: &DiskConfig) -> BlockOptions {
    BlockOptions {
        access: if disk.readonly { Access::ReadOnly } else { Access::ReadWrite },
        caching: if disk.direct { Caching::Direct } else { Caching::Buffered },
        image_type: disk.image_type.map(|image| match image {
            config::ImageType::Raw => ImageType::Raw,
            config::ImageType::Qcow2 => ImageType::Qcow2,
        }),
        backing_files: if disk.backing_files {
            BackingFiles::Followed
        } else {
            BackingFiles::Refused
        },
        engine: if disk.disable_io_uring { Engine::Blocking } else { Engine::Fitting },
        // The configuration was checked: it has at most as many.
        num_queues: u16::try_from(disk.num_queues).unwrap_or(u16::MAX),
        queue_size: disk.queue_size,
        serial: disk.serial.clone(),
        limits: limits(&disk.rate_limiter_config),
        ..BlockOptions::new(id, &disk.path)
    }
}

fn limits(config: &RateLimiterConfig) -> Limits {
    let bucket = |bucket: config::TokenBucket| TokenBucket {
        size: bucket.size,
        one_time_burst: bucket.one_time_burst.unwrap_or(0),
        refill_time: Duration::from_millis(bucket.refill_time),
    };
    Limits { bandwidth: config.bandwidth.map(bucket), operations: config.ops.map(bucket) }
}

pub(super) fn balloon(balloon: &BalloonConfig) -> BalloonOptions {
    let offered = |on| if on { Offered::Yes } else { Offered::No };
    BalloonOptions {
        size: balloon.size,
        deflate_on_oom: offered(balloon.deflate_on_oom),
        free_page_reporting: offered(balloon.free_page_reporting),
    }
}

/// None if nothing can be plugged.
pub(super) fn memory(config: &VmConfig) -> Option<MemOptions> {
    let memory = &config.memory;
    let (size, requested) = (memory.hotplug(), memory.requested());
    let gpa = layout::hot_start(memory.boot_size()).filter(|_| size > 0)?;
    // The one that the ACPI tables have the region in.
    let domain = Nodes::of(config).hot().0;
    // A valid configuration has none of more bits.
    let proximity_domain = u16::try_from(domain).unwrap_or(u16::MAX);
    Some(MemOptions { gpa, size, requested, proximity_domain })
}

pub(super) fn net(id: &str, net: &NetConfig) -> Result<NetOptions, OpenDeviceError> {
    let offload = |on, what| if on { what } else { Offloads::NONE };
    let offloads = offload(net.offload_csum, Offloads::CHECKSUM)
        | offload(net.offload_tso, Offloads::TSO)
        | offload(net.offload_ufo, Offloads::UFO);
    let address = match (net.ip, net.mask) {
        (Some(IpAddr::V4(ip)), Some(IpAddr::V4(mask))) => Some(HostAddress { ip, mask }),
        (Some(IpAddr::V4(ip)), None) => Some(HostAddress { ip, mask: CLASS_C }),
        (Some(ip), _) => return Err(OpenDeviceError::Address { id: id.to_owned(), ip }),
        (None, _) => None,
    };
    let mut fds = Vec::with_capacity(net.fds.len());
    for fd in &net.fds {
        fds.push(
            descriptor(*fd)
                .map_err(|source| OpenDeviceError::Descriptor { id: id.to_owned(), source })?,
        );
    }
    Ok(NetOptions {
        tap: net.tap.clone(),
        fds,
        mac: net.mac.map(|mac| MacAddress(mac.0)),
        host_mac: net.host_mac.map(|mac| MacAddress(mac.0)),
        address,
        mtu: net.mtu,
        // The configuration was checked: it has at most as many.
        num_queues: u16::try_from(net.num_queues).unwrap_or(u16::MAX),
        queue_size: net.queue_size,
        offloads: offloads.consistent(),
        limits: limits(&net.rate_limiter_config),
    })
}

/// The mask of an address that was given without one.
const CLASS_C: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// A duplicate of a descriptor that whoever started this process left open in it. The original stays open, for a VM that is
/// created anew.
fn descriptor(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: a number that is no open descriptor gives EBADF, and what is made is owned by nobody else.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
