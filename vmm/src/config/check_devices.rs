//! Whether the devices of a configuration can be made: each by itself, and all beside each other.
use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;

use rustix::fs::Access;

use super::check_images::{Images, accessible, image_problem, twice};
use super::validate::{MAX_SOCKET_PATH, bytes, invalid};
use super::{
    BalloonConfig, ConfigError, ConsoleConfig, ConsoleMode, DiskConfig, ImageType, NetConfig,
    RngConfig, VmConfig, VsockConfig,
};

/// The most entries of a virtqueue (virtio 1.2, section 2.7).
const MAX_QUEUE_SIZE: u16 = 1 << 15;
/// The most bytes of a disk's serial number (virtio 1.2, section 5.2.6).
const MAX_SERIAL: usize = 20;
/// The least MTU of IPv6 (RFC 8200, section 5).
const MIN_MTU: u16 = 1280;
/// `IFNAMSIZ` is 16, the last byte zero (`netdevice(7)`).
const MAX_INTERFACE_NAME: usize = 15;
/// Contexts below are the hypervisor's and the host's (`vsock(7)`).
const MIN_CID: u64 = 3;
/// `VMADDR_CID_ANY`, which is nobody's.
const CID_ANY: u64 = 0xFFFF_FFFF;
/// `_4294967295`: what a guest's connection appends to the vsock's path.
const PORT_SUFFIX: usize = 11;
/// A balloon is made of pages of this size (virtio 1.2, section 5.5.6).
const BALLOON_PAGE: u64 = 4096;

impl VmConfig {
    /// Checks every device.
    pub(super) fn check_devices(&self, images: Images) -> Result<(), ConfigError> {
        for (index, disk) in self.disks.iter().enumerate() {
            let place = format!("disks[{index}]");
            match images {
                Images::ByPath => self.check_disk(&place, disk)?,
                Images::Open => self.check_disk_but_path(&place, disk)?,
            }
        }
        for (index, net) in self.net.iter().enumerate() {
            self.check_net(&format!("net[{index}]"), net)?;
        }
        if let Some(rng) = &self.rng {
            check_rng(rng).map_err(|problem| invalid("rng", &problem))?;
        }
        if let Some(vsock) = &self.vsock {
            check_vsock(vsock).map_err(|problem| invalid("vsock", &problem))?;
        }
        if let Some(balloon) = &self.balloon {
            self.check_balloon(balloon)?;
        }
        match images {
            Images::ByPath => self.check_together(),
            Images::Open => {
                self.check_ids()?;
                self.check_names()
            }
        }
    }

    pub(super) fn check_disk(&self, place: &str, disk: &DiskConfig) -> Result<(), ConfigError> {
        self.check_disk_but_path(place, disk)?;
        image_problem(disk).map_err(|problem| in_disk(place, disk, &problem))
    }

    fn check_disk_but_path(&self, place: &str, disk: &DiskConfig) -> Result<(), ConfigError> {
        disk_problem(disk, self.cpus.max_vcpus).map_err(|problem| in_disk(place, disk, &problem))
    }

    pub(super) fn check_net(&self, place: &str, net: &NetConfig) -> Result<(), ConfigError> {
        net_problem(net, self.cpus.max_vcpus).map_err(|problem| invalid(place, &problem))
    }

    fn check_balloon(&self, balloon: &BalloonConfig) -> Result<(), ConfigError> {
        balloon_problem(balloon.size, self.memory.boot_size())
            .map_or(Ok(()), |problem| Err(invalid("balloon", &problem)))
    }

    /// What only one device can have.
    pub(super) fn check_together(&self) -> Result<(), ConfigError> {
        self.check_ids()?;
        self.check_images()?;
        self.check_names()
    }

    /// Taps, addresses and sockets that two devices want.
    fn check_names(&self) -> Result<(), ConfigError> {
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for (index, net) in self.net.iter().enumerate() {
            let taps = net.tap.iter().map(|tap| format!("the interface {tap:?}"));
            let addresses = net.mac.iter().map(|mac| format!("the address {mac}"));
            let fds = net.fds.iter().map(|fd| format!("the descriptor {fd}"));
            for wanted in taps.chain(addresses).chain(fds) {
                let place = format!("net[{index}]");
                if let Some(other) = names.insert(wanted.clone(), place.clone()) {
                    return twice(&other, &place, &wanted);
                }
            }
        }
        let Some(vsock) = &self.vsock else { return Ok(()) };
        for (place, ConsoleConfig { mode, socket, .. }) in
            [("serial", &self.serial), ("console", &self.console)]
        {
            if *mode == ConsoleMode::Socket && socket.as_ref() == Some(&vsock.socket) {
                return twice(place, "vsock", "the same socket");
            }
        }
        Ok(())
    }
}

fn in_disk(place: &str, disk: &DiskConfig, problem: &str) -> ConfigError {
    invalid(place, &format!("{}: {problem}", disk.path.display()))
}

fn queues_problem(what: &str, queues: u32, size: u16, max: u32) -> Result<(), String> {
    if queues == 0 {
        return Err(format!("0 {what}; at least 1 is needed"));
    }
    if queues > max {
        return Err(format!(
            "{queues} {what} for {max} vCPUs; more than vCPUs cannot be used (--cpus max=)"
        ));
    }
    if !size.is_power_of_two() || size > MAX_QUEUE_SIZE {
        return Err(format!(
            "queues of {size} entries; their size is a power of two up to {MAX_QUEUE_SIZE}"
        ));
    }
    Ok(())
}

fn disk_problem(disk: &DiskConfig, max_vcpus: u32) -> Result<(), String> {
    queues_problem("queues", disk.num_queues, disk.queue_size, max_vcpus)?;
    if let Some(serial) = &disk.serial
        && (serial.len() > MAX_SERIAL || !serial.bytes().all(|byte| (0x20..0x7F).contains(&byte)))
    {
        return Err(format!(
            "serial {serial:?}: a serial number has at most {MAX_SERIAL} printable ASCII characters"
        ));
    }
    if disk.backing_files && disk.image_type == Some(ImageType::Raw) {
        return Err("backing_files=on, but a raw image has none".to_owned());
    }
    if let Some(problem) = disk.rate_limiter_config.problem() {
        return Err(problem);
    }
    Ok(())
}

fn net_problem(net: &NetConfig, max_vcpus: u32) -> Result<(), String> {
    if !net.num_queues.is_multiple_of(2) {
        return Err(format!(
            "{} queues; they come in pairs, one for each direction",
            net.num_queues
        ));
    }
    queues_problem("pairs of queues", net.num_queues / 2, net.queue_size, max_vcpus)?;
    if let Some(tap) = &net.tap {
        let bad = |next: char| next == '/' || next == ':' || next == '%' || next.is_whitespace();
        if tap.is_empty() || tap.len() > MAX_INTERFACE_NAME || [".", ".."].contains(&tap.as_str()) {
            return Err(format!(
                "tap {tap:?}: an interface's name has 1 to {MAX_INTERFACE_NAME} bytes"
            ));
        }
        if tap.contains(bad) || tap.contains(char::is_control) {
            return Err(format!(
                "tap {tap:?}: an interface's name has no blank and no slash, colon or percent sign"
            ));
        }
    }
    fds_problem(net)?;
    match (net.ip, net.mask) {
        (Some(_), None) => return Err("an ip without a mask; give mask=, too".to_owned()),
        (None, Some(_)) => return Err("a mask without an ip; give ip=, too".to_owned()),
        (Some(ip), Some(mask)) if ip.is_ipv4() != mask.is_ipv4() => {
            return Err(format!("ip {ip} and mask {mask} are of different kinds"));
        }
        (Some(_), Some(mask)) if !is_mask(mask) => {
            return Err(format!("mask {mask}: a mask is ones followed by zeroes"));
        }
        _ => {}
    }
    for (key, mac) in [("mac", net.mac), ("host_mac", net.host_mac)] {
        if let Some(mac) = mac.filter(|mac| !mac.is_of_a_station()) {
            return Err(format!(
                "{key} {mac}: an interface cannot have it; the lowest bit of the first byte must be 0"
            ));
        }
    }
    if let Some(mac) = net.mac.filter(|mac| Some(*mac) == net.host_mac) {
        return Err(format!("mac and host_mac are both {mac}; the two ends need different ones"));
    }
    if let Some(mtu) = net.mtu.filter(|mtu| *mtu < MIN_MTU) {
        return Err(format!("mtu {mtu} is too small; at least {MIN_MTU}"));
    }
    net.rate_limiter_config.problem().map_or(Ok(()), Err)
}

fn fds_problem(net: &NetConfig) -> Result<(), String> {
    if net.fds.is_empty() {
        return Ok(());
    }
    if let Some(fd) = net.fds.iter().find(|fd| **fd <= 2) {
        return Err(format!("fd {fd}: 0 to 2 are standard input, output and error"));
    }
    for (given, key) in
        [(net.tap.is_some(), "tap"), (net.ip.is_some(), "ip"), (net.host_mac.is_some(), "host_mac")]
    {
        if given {
            return Err(format!("fd and {key} exclude each other: an open tap is used as it is"));
        }
    }
    if usize::try_from(net.num_queues / 2) != Ok(net.fds.len()) {
        return Err(format!(
            "{} queues, but {} descriptors; each serves two queues",
            net.num_queues,
            net.fds.len()
        ));
    }
    Ok(())
}

fn is_mask(mask: std::net::IpAddr) -> bool {
    match mask {
        std::net::IpAddr::V4(mask) => mask.to_bits().leading_ones() == mask.to_bits().count_ones(),
        std::net::IpAddr::V6(mask) => mask.to_bits().leading_ones() == mask.to_bits().count_ones(),
    }
}

fn check_rng(rng: &RngConfig) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("src {}: {why}", rng.src.display()));
    match std::fs::metadata(&rng.src) {
        Err(error) => refuse(&error.to_string()),
        Ok(metadata) if metadata.is_dir() => refuse("is a directory"),
        Ok(metadata) if !metadata.is_file() && !metadata.file_type().is_char_device() => {
            refuse("is neither a character device nor a regular file; try /dev/urandom")
        }
        Ok(_) => accessible(&rng.src, Access::READ_OK).or_else(|error| refuse(&error)),
    }
}

pub(super) fn check_vsock(vsock: &VsockConfig) -> Result<(), String> {
    let VsockConfig { cid, socket, .. } = vsock;
    if !(MIN_CID..CID_ANY).contains(cid) {
        return Err(format!("cid {cid}: a guest has one from {MIN_CID} to {}", CID_ANY - 1));
    }
    if socket.as_os_str().is_empty() {
        return Err("the path of the socket is empty".to_owned());
    }
    let longest = MAX_SOCKET_PATH - PORT_SUFFIX;
    if socket.as_os_str().len() > longest {
        return Err(format!(
            "socket {}: the path has at most {longest} bytes, so that _PORT fits behind it",
            socket.display()
        ));
    }
    match std::fs::symlink_metadata(socket) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(format!("socket {}: exists and is no socket", socket.display()))
        }
        _ => Ok(()),
    }
}

/// Why a balloon cannot have this size, if it cannot.
pub(super) fn balloon_problem(size: u64, memory: u64) -> Option<String> {
    if !size.is_multiple_of(BALLOON_PAGE) {
        Some(format!("{} are no whole number of {} pages", bytes(size), bytes(BALLOON_PAGE)))
    } else if size >= memory {
        Some(format!("{} of {} RAM; the guest must keep some", bytes(size), bytes(memory)))
    } else {
        None
    }
}
