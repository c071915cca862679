//! From `run`'s options to a configuration.
use vmm::config::{ConsoleConfig, ConsoleMode, VmConfig};

use crate::args::Run;
use crate::failure::Failure;

/// What the options ask for.
pub fn config_of(options: &Run) -> Result<VmConfig, Failure> {
    let usage = |error: vmm::config::ConfigError| Failure::Usage(error.to_string());
    let in_background = options.place.detach || options.place.detached;
    let mut config = VmConfig::default();
    if let Some(cpus) = &options.cpus {
        config.cpus = cpus.parse().map_err(usage)?;
    }
    if let Some(memory) = &options.memory {
        config.memory = memory.parse().map_err(usage)?;
    } else if !options.memory_zone.is_empty() {
        // They have sizes of their own.
        config.memory.size = 0;
    }
    for zone in &options.memory_zone {
        config.memory.zones.push(zone.parse().map_err(usage)?);
    }
    for node in &options.numa {
        config.numa.push(node.parse().map_err(usage)?);
    }
    if let Some(console) = &options.console {
        config.console = ConsoleConfig::parse_console(console).map_err(usage)?;
    }
    config.serial = match &options.serial {
        Some(serial) => ConsoleConfig::parse_serial(serial).map_err(usage)?,
        // The terminal is for one of them.
        None if in_background || config.console.mode == ConsoleMode::Tty => {
            ConsoleConfig::of_mode(ConsoleMode::Null)
        }
        None => ConsoleConfig::of_mode(ConsoleMode::Tty),
    };
    for disk in &options.disk {
        config.disks.push(disk.parse().map_err(usage)?);
    }
    for net in &options.net {
        config.net.push(net.parse().map_err(usage)?);
    }
    config.rng = parse_optional(options.rng.as_deref())?;
    config.vsock = parse_optional(options.vsock.as_deref())?;
    config.balloon = parse_optional(options.balloon.as_deref())?;
    config.pvpanic = options.pvpanic;
    config.watchdog = options.watchdog;
    for (option, console) in [("--serial", &config.serial), ("--console", &config.console)] {
        if in_background && console.mode == ConsoleMode::Tty {
            return Err(Failure::Usage(format!(
                "{option} tty: a VM in the background has no terminal; try pty, file= or socket="
            )));
        }
    }
    config.payload.kernel.clone_from(&options.kernel);
    config.payload.initramfs.clone_from(&options.initramfs);
    config.payload.cmdline.clone_from(&options.cmdline);
    config.validate().map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(config)
}

fn parse_optional<T>(text: Option<&str>) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr<Err = vmm::config::ConfigError>,
{
    text.map(str::parse::<T>)
        .transpose()
        .map_err(|error: vmm::config::ConfigError| Failure::Usage(error.to_string()))
}
