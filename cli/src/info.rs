//! `info`: one VM in detail.
use std::path::Path;

use vmm::config::print_size;
use vmm::control::{MemoryHotplugInfo, VcpuHotplug, VcpuInfo, VmInfo};

use crate::args::Info;
use crate::failure::Failure;
use crate::ls::align;
use crate::output::print;
use crate::target::find;

/// Prints what `vm.info` answers, for people or as it is.
pub fn info(options: &Info) -> Result<(), Failure> {
    let mut found = find(&options.target)?;
    if options.json {
        let text = found.client.get_text("vm.info").map_err(|error| found.failure(&error))?;
        return print(&format!("{text}\n"));
    }
    let info: VmInfo = found.client.get("vm.info").map_err(|error| found.failure(&error))?;
    print(&describe(&found.name, &found.socket, &info))
}

fn describe(name: &str, socket: &Path, info: &VmInfo) -> String {
    let config = &info.config;
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let microseconds = |time: Option<u64>| time.map(|time| format!("{time} µs"));
    let console = |console: &vmm::config::ConsoleConfig| {
        let made = console.file.as_ref().filter(|_| console.mode == vmm::config::ConsoleMode::Pty);
        made.map_or_else(|| console.to_string(), |pty| format!("pty ({})", pty.display()))
    };
    let lines: Vec<[String; 2]> = [
        ("name", Some(info.name.clone().unwrap_or_else(|| name.to_owned()))),
        ("state", Some(format!("{:?}", info.state))),
        ("error", info.last_error.clone()),
        ("pid", Some(info.pid.to_string())),
        ("api socket", Some(socket.display().to_string())),
        ("cpus", Some(config.cpus.to_string())),
        ("memory", Some(config.memory.to_string())),
        ("memory now", Some(print_size(info.memory_actual_size))),
        ("memory to come", info.memory_missing_bytes.map(print_size)),
        ("plugged", info.memory_hotplug.map(plugged)),
        (
            "kernel",
            Some(path(&config.payload.kernel).unwrap_or_else(|| "embedded guest".to_owned())),
        ),
        ("initramfs", path(&config.payload.initramfs)),
        ("cmdline", config.payload.cmdline.clone()),
        ("serial", Some(console(&config.serial))),
        ("console", Some(console(&config.console))),
        ("start to running", microseconds(info.boot_us)),
        ("last pause", microseconds(info.last_pause_us)),
        ("last resume", microseconds(info.last_resume_us)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some([key.to_owned(), value?]))
    .chain(config.memory.zones.iter().map(|zone| ["memory zone".to_owned(), zone.to_string()]))
    .chain(config.numa.iter().map(|node| ["numa node".to_owned(), node.to_string()]))
    .chain(devices(info))
    .chain(info.vcpus.iter().map(|vcpu| [format!("vcpu {}", vcpu.index), state(vcpu)]))
    .collect();
    align(&lines)
}

/// A vCPU's word, and where it is if it comes or goes.
fn state(vcpu: &VcpuInfo) -> String {
    let on_its_way = match vcpu.hotplug {
        None => return vcpu.state.clone(),
        Some(VcpuHotplug::Inserting) => "the guest has not heard of it yet",
        Some(VcpuHotplug::Removing) => "the guest has not let go of it yet",
        Some(VcpuHotplug::Ejected) => "the guest has let go of it",
    };
    format!("{} ({on_its_way})", vcpu.state)
}

fn plugged(memory: MemoryHotplugInfo) -> String {
    let MemoryHotplugInfo { requested_size, plugged_size } = memory;
    format!("{} of {} asked for", print_size(plugged_size), print_size(requested_size))
}

/// One line a device: id, place on the bus, and what it is, as an option string.
fn devices(info: &VmInfo) -> impl Iterator<Item = [String; 2]> {
    let config = &info.config;
    let disks = config.disks.iter().map(|disk| ("disk", disk.id.as_ref(), disk.to_string()));
    let nets = config.net.iter().map(|net| ("net", net.id.as_ref(), net.to_string()));
    let vsock = config.vsock.iter().map(|vsock| ("vsock", vsock.id.as_ref(), vsock.to_string()));
    let rng = config.rng.iter().map(|rng| ("rng", rng.id.as_ref(), rng.to_string()));
    let balloon = config.balloon.iter();
    let balloon = balloon.map(|balloon| ("balloon", balloon.id.as_ref(), balloon.to_string()));
    disks.chain(nets).chain(vsock).chain(rng).chain(balloon).map(|(kind, id, options)| {
        let node = id.and_then(|id| info.device_tree.get(id));
        let place = node.and_then(|node| node.pci_bdf).map(|bdf| format!("{bdf} "));
        [kind.to_owned(), format!("{}{options}", place.unwrap_or_default())]
    })
}

#[cfg(test)]
mod tests {
    use vmm::config::{DiskConfig, VmConfig};
    use vmm::control::{PciBdf, VmState, device_tree};

    use super::*;

    #[test]
    fn what_is_known_is_shown_and_nothing_else() {
        let disks = vec![DiskConfig::of_path("/a"), DiskConfig::of_path("/b")];
        let mut config = VmConfig { disks, ..VmConfig::default() };
        config.name_devices();
        let bdf = PciBdf { segment: 0, bus: 0, device: 3, function: 0 };
        let info = VmInfo {
            device_tree: device_tree(&config, &[("_disk1".to_owned(), bdf)].into()),
            config,
            state: VmState::Paused,
            memory_actual_size: 512 << 20,
            memory_missing_bytes: None,
            memory_hotplug: Some(MemoryHotplugInfo {
                requested_size: 1 << 30,
                plugged_size: 640 << 20,
            }),
            name: None,
            last_error: None,
            vcpus: [(0, None), (1, Some(VcpuHotplug::Removing))]
                .map(|(index, hotplug)| VcpuInfo {
                    index,
                    word: 9,
                    state: "RUN|PAUSED epoch=2".to_owned(),
                    hotplug,
                })
                .into(),
            last_pause_us: Some(312),
            last_resume_us: None,
            boot_us: None,
            pid: 7,
        };
        let text = describe("web", Path::new("/run/web.sock"), &info);
        for line in [
            "name        web",
            "state       Paused",
            "pid         7",
            "cpus        boot=1,max=1",
            "memory      size=512M",
            "plugged     640M of 1G asked for",
            "kernel      embedded guest",
            "serial      null",
            "last pause  312 µs",
            "disk        path=/a,id=_disk0",
            "disk        0000:00:03.0 path=/b,id=_disk1",
            "vcpu 0      RUN|PAUSED epoch=2",
            "vcpu 1      RUN|PAUSED epoch=2 (the guest has not let go of it yet)",
        ] {
            assert!(text.lines().any(|found| found == line), "{text} lacks {line}");
        }
        assert!(!text.contains("last resume") && !text.contains("error"));
    }
}
