//! Whether a well-formed configuration can make a VM at all.
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::check_images::Images;
use super::check_memory::check_memory;
use super::error::one_line;
use super::{
    ConfigError, ConsoleConfig, ConsoleMode, CpusConfig, Invalid, PayloadConfig, VmConfig,
    print_size,
};

/// The most vCPUs of a VM; KVM may allow fewer (`KVM_CAP_MAX_VCPUS`).
pub const MAX_VCPUS: u32 = 1024;
/// The highest host CPU number that a vCPU can be pinned to: `cpu_set_t` has 1024 bits
/// (`CPU_SET(3)`).
pub const MAX_HOST_CPU: usize = 1023;
/// The least guest RAM in bytes: room for the embedded guest and its tables. A kernel needs more,
/// which its loader tells.
pub const MIN_MEMORY: u64 = 16 << 20;
/// The most guest RAM in bytes: a quarter of what the widest common x86-64 processors address
/// (52 bits).
pub const MAX_MEMORY: u64 = 1 << 50;

/// `sun_path` of `unix(7)` holds 108 bytes, the last of them zero.
pub(super) const MAX_SOCKET_PATH: usize = 107;

impl VmConfig {
    /// Checks everything that can be told without making the VM; looks whether files exist.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check(check_payload, Images::ByPath)
    }

    /// The same for a VM that comes with its memory, out of a snapshot or from another host: its kernel is in that, and the file
    /// need not be here. A reboot needs it, and says so then. Images that are open already need no paths.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn validate_arriving(&self, images: Images) -> Result<(), ConfigError> {
        self.check(|_| Ok(()), images)
    }

    fn check(
        &self,
        check_payload: impl FnOnce(&PayloadConfig) -> Result<(), String>,
        images: Images,
    ) -> Result<(), ConfigError> {
        check_cpus(&self.cpus).map_err(in_section("cpus"))?;
        check_memory(&self.memory).map_err(in_section("memory"))?;
        self.check_numa()?;
        check_payload(&self.payload).map_err(in_section("payload"))?;
        if self.serial.id.is_some() {
            return Err(invalid("serial", "a serial port has no id"));
        }
        check_console(&self.serial).map_err(in_section("serial"))?;
        check_console(&self.console).map_err(in_section("console"))?;
        check_both(&self.serial, &self.console).map_err(in_section("serial and console"))?;
        self.check_devices(images)
    }
}

/// A problem of one part of a configuration.
pub(super) fn invalid(section: &str, problem: &str) -> ConfigError {
    Invalid { section: section.to_owned(), problem: one_line(problem) }.into()
}

fn in_section(section: &str) -> impl Fn(String) -> ConfigError {
    move |problem| invalid(section, &problem)
}

fn check_cpus(cpus: &CpusConfig) -> Result<(), String> {
    let CpusConfig { boot_vcpus: boot, max_vcpus: max, .. } = *cpus;
    if boot == 0 {
        return Err("0 vCPUs at boot; a VM needs at least 1".to_owned());
    }
    if max > MAX_VCPUS || boot > MAX_VCPUS {
        return Err(format!("{} vCPUs; at most {MAX_VCPUS} are possible", max.max(boot)));
    }
    if boot > max {
        return Err(format!("{boot} vCPUs at boot are more than the maximum of {max}"));
    }
    if let Some(topology) = cpus.topology
        && topology.vcpus() != u64::from(max)
    {
        return Err(format!(
            "topology {topology} describes {} vCPUs, but the maximum is {max}; \
             threads x cores x dies x packages must equal it",
            topology.vcpus()
        ));
    }
    let mut seen = BTreeSet::new();
    for affinity in &cpus.affinity {
        let vcpu = affinity.vcpu;
        if vcpu >= max {
            return Err(format!("affinity of vCPU {vcpu}, but the last one is {}", max - 1));
        }
        if !seen.insert(vcpu) {
            return Err(format!("affinity of vCPU {vcpu} is given more than once"));
        }
        if affinity.host_cpus.is_empty() {
            return Err(format!("affinity of vCPU {vcpu} allows no host CPU"));
        }
        if let Some(cpu) = affinity.host_cpus.iter().find(|cpu| **cpu > MAX_HOST_CPU) {
            return Err(format!(
                "affinity of vCPU {vcpu} names host CPU {cpu}; the highest possible is {MAX_HOST_CPU}"
            ));
        }
    }
    Ok(())
}

pub(super) fn bytes(size: u64) -> String {
    let printed = print_size(size);
    if printed.ends_with(|last: char| last.is_ascii_digit()) {
        format!("{printed} bytes")
    } else {
        format!("{printed}iB")
    }
}

fn check_payload(payload: &PayloadConfig) -> Result<(), String> {
    if let Some(kernel) = &payload.kernel {
        check_file("kernel", kernel)?;
    } else if let Some(initramfs) = &payload.initramfs {
        return Err(format!("initramfs {} without a kernel to read it", initramfs.display()));
    }
    if let Some(initramfs) = &payload.initramfs {
        check_file("initramfs", initramfs)?;
    }
    if payload.cmdline.as_ref().is_some_and(|cmdline| cmdline.contains('\0')) {
        return Err("the command line contains a zero byte".to_owned());
    }
    Ok(())
}

fn check_file(what: &str, path: &Path) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{what} {}: {why}", path.display()));
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    match std::fs::metadata(path) {
        Err(error) => return refuse(&error.to_string()),
        Ok(metadata) if metadata.is_dir() => return refuse("is a directory"),
        Ok(metadata) if !metadata.is_file() => return refuse("is not a regular file"),
        Ok(metadata) if metadata.len() == 0 => return refuse("is empty"),
        Ok(_) => {}
    }
    match File::open(path) {
        Err(error) => refuse(&error.to_string()),
        Ok(_) => Ok(()),
    }
}

fn check_console(console: &ConsoleConfig) -> Result<(), String> {
    let ConsoleConfig { mode, file, socket, .. } = console;
    if *mode == ConsoleMode::File && file.is_none() {
        return Err("mode File needs the path of a file".to_owned());
    }
    if *mode == ConsoleMode::Socket && socket.is_none() {
        return Err("mode Socket needs the path of a socket".to_owned());
    }
    // For Pty, `vm.info` shows the pseudo-terminal as the file: what it tells can be sent back.
    if file.is_some() && !matches!(mode, ConsoleMode::File | ConsoleMode::Pty) {
        return Err(format!("a file is given, but the mode is {mode:?}"));
    }
    if socket.is_some() && *mode != ConsoleMode::Socket {
        return Err(format!("a socket is given, but the mode is {mode:?}"));
    }
    for path in [file, socket].into_iter().flatten() {
        if path.as_os_str().is_empty() {
            return Err("the path is empty".to_owned());
        }
    }
    if let Some(socket) = socket
        && socket.as_os_str().len() > MAX_SOCKET_PATH
    {
        return Err(format!(
            "the path of a socket has at most {MAX_SOCKET_PATH} bytes: {}",
            socket.display()
        ));
    }
    if let Some(file) = file
        && *mode == ConsoleMode::File
        && file.is_dir()
    {
        return Err(format!("{} is a directory", file.display()));
    }
    Ok(())
}

fn check_both(serial: &ConsoleConfig, console: &ConsoleConfig) -> Result<(), String> {
    let same_path = |one: &Option<_>, other: &Option<_>| one.is_some() && one == other;
    match (serial.mode, console.mode) {
        (ConsoleMode::Tty, ConsoleMode::Tty) => {
            Err("both want the terminal; one of them must go elsewhere".to_owned())
        }
        (ConsoleMode::File, ConsoleMode::File) if same_path(&serial.file, &console.file) => {
            Err("both want the same file".to_owned())
        }
        (ConsoleMode::Socket, ConsoleMode::Socket)
            if same_path(&serial.socket, &console.socket) =>
        {
            Err("both want the same socket".to_owned())
        }
        _ => Ok(()),
    }
}
