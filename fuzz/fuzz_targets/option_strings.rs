//! Option strings: no text panics, what parses prints as what parses to the same again, and so
//! does every configuration that never was text.
#![no_main]
use std::fmt::Debug;
use std::path::PathBuf;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vmm::config::{
    BalloonConfig, ConfigError, ConsoleConfig, ConsoleMode, CpuAffinity, CpuTopology, CpusConfig,
    DiskConfig, HotplugMethod, ImageType, MAX_HOST_CPU, MAX_VCPUS, MacAddr, MemoryConfig,
    MemoryZoneConfig, NetConfig, NumaConfig, NumaDistance, RateLimiterConfig, RngConfig,
    TokenBucket, VsockConfig, parse_size, print_size,
};

/// Text for one of the options, or a configuration to print.
#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Cpus(&'a str),
    Memory(&'a str),
    Serial(&'a str),
    Console(&'a str),
    Disk(&'a str),
    Net(&'a str),
    Rng(&'a str),
    Vsock(&'a str),
    Balloon(&'a str),
    Size(&'a str),
    PrintCpus(Cpus),
    PrintMemory {
        size: u64,
        toggles: [bool; 5],
        hugepage_size: Option<u64>,
        hotplug: [Option<u64>; 2],
    },
    PrintConsole {
        mode: Mode,
        path: &'a str,
        id: Option<&'a str>,
    },
    PrintDisk(Disk<'a>),
    PrintNet(Net<'a>),
    PrintRng {
        src: &'a str,
        id: Option<&'a str>,
    },
    PrintVsock {
        cid: u64,
        socket: &'a str,
        id: Option<&'a str>,
    },
    PrintBalloon {
        size: u64,
        toggles: [bool; 2],
        id: Option<&'a str>,
    },
    PrintSize(u64),
    MemoryZone(&'a str),
    Numa(&'a str),
    PrintMemoryZone {
        id: &'a str,
        size: u64,
        toggles: [bool; 3],
        sizes: [Option<u64>; 3],
    },
    PrintNuma {
        guest_numa_id: u32,
        cpus: Vec<u32>,
        distances: Vec<(u32, u8)>,
        memory_zones: Vec<&'a str>,
        pci_segments: Vec<u16>,
    },
}

#[derive(Debug, Arbitrary)]
struct Cpus {
    boot: u32,
    max: u32,
    topology: Option<[u16; 4]>,
    affinity: Vec<(u32, Vec<u16>)>,
}

#[derive(Debug, Arbitrary)]
struct Limits {
    bandwidth: Option<(u64, Option<u64>, u64)>,
    ops: Option<(u64, Option<u64>, u64)>,
}

#[derive(Debug, Arbitrary)]
struct Disk<'a> {
    path: &'a str,
    toggles: [bool; 4],
    num_queues: u32,
    queue_size: u16,
    qcow2: Option<bool>,
    serial: Option<&'a str>,
    id: Option<&'a str>,
    limits: Limits,
}

#[derive(Debug, Arbitrary)]
struct Net<'a> {
    tap: Option<&'a str>,
    ip: Option<std::net::IpAddr>,
    mask: Option<std::net::IpAddr>,
    mac: Option<[u8; 6]>,
    host_mac: Option<[u8; 6]>,
    mtu: Option<u16>,
    num_queues: u32,
    queue_size: u16,
    id: Option<&'a str>,
    fds: Vec<u16>,
    toggles: [bool; 3],
    limits: Limits,
}

#[derive(Debug, Arbitrary)]
enum Mode {
    Off,
    Null,
    Tty,
    Pty,
    File,
    Socket,
}

/// An error is one line for a terminal; a value prints as what parses to it.
fn check<T: PartialEq + Debug + ToString>(
    parse: impl Fn(&str) -> Result<T, ConfigError>,
    text: &str,
) {
    match parse(text) {
        Ok(value) => assert_eq!(parse(&value.to_string()).as_ref(), Ok(&value)),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}

fn cpus(Cpus { boot, max, topology, affinity }: Cpus) -> CpusConfig {
    let host_cpu = |cpu: u16| usize::from(cpu) % (MAX_HOST_CPU + 1);
    CpusConfig {
        boot_vcpus: boot,
        max_vcpus: max,
        topology: topology.map(|[threads, cores, dies, packages]| CpuTopology {
            threads_per_core: threads,
            cores_per_die: cores,
            dies_per_package: dies,
            packages,
        }),
        affinity: affinity
            .into_iter()
            .map(|(vcpu, host_cpus)| CpuAffinity {
                vcpu,
                host_cpus: host_cpus.into_iter().take(MAX_HOST_CPU).map(host_cpu).collect(),
            })
            .collect(),
    }
}

/// Text that is not empty: what is, is as if not given.
fn some(text: &str) -> String {
    if text.is_empty() { "x".to_owned() } else { text.to_owned() }
}

fn limits(Limits { bandwidth, ops }: &Limits) -> RateLimiterConfig {
    let bucket = |(size, one_time_burst, refill_time): &(u64, Option<u64>, u64)| TokenBucket {
        size: *size,
        one_time_burst: *one_time_burst,
        refill_time: *refill_time,
    };
    RateLimiterConfig { bandwidth: bandwidth.as_ref().map(bucket), ops: ops.as_ref().map(bucket) }
}

fn disk(input: &Disk<'_>) -> DiskConfig {
    DiskConfig {
        path: some(input.path).into(),
        readonly: input.toggles[0],
        direct: input.toggles[1],
        num_queues: input.num_queues,
        queue_size: input.queue_size,
        image_type: input.qcow2.map(|is| if is { ImageType::Qcow2 } else { ImageType::Raw }),
        serial: input.serial.map(some),
        id: input.id.map(some),
        backing_files: input.toggles[2],
        disable_io_uring: input.toggles[3],
        rate_limiter_config: limits(&input.limits),
    }
}

fn net(input: &Net<'_>) -> NetConfig {
    NetConfig {
        tap: input.tap.map(some),
        ip: input.ip,
        mask: input.mask,
        mac: input.mac.map(MacAddr),
        host_mac: input.host_mac.map(MacAddr),
        mtu: input.mtu,
        num_queues: input.num_queues,
        queue_size: input.queue_size,
        id: input.id.map(some),
        fds: input.fds.iter().map(|fd| i32::from(*fd)).collect(),
        offload_tso: input.toggles[0],
        offload_ufo: input.toggles[1],
        offload_csum: input.toggles[2],
        rate_limiter_config: limits(&input.limits),
    }
}

fn console(mode: &Mode, path: &str, id: Option<&str>) -> ConsoleConfig {
    let path = some(path);
    let (mode, file, socket) = match mode {
        Mode::Off => (ConsoleMode::Off, None, None),
        Mode::Null => (ConsoleMode::Null, None, None),
        Mode::Tty => (ConsoleMode::Tty, None, None),
        Mode::Pty => (ConsoleMode::Pty, None, None),
        Mode::File => (ConsoleMode::File, Some(PathBuf::from(path)), None),
        Mode::Socket => (ConsoleMode::Socket, None, Some(PathBuf::from(path))),
    };
    ConsoleConfig { mode, file, socket, id: id.map(some) }
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Cpus(text) => check(str::parse::<CpusConfig>, text),
        Input::Memory(text) => check(str::parse::<MemoryConfig>, text),
        Input::Serial(text) => check(ConsoleConfig::parse_serial, text),
        Input::Console(text) => check(ConsoleConfig::parse_console, text),
        Input::Disk(text) => check(str::parse::<DiskConfig>, text),
        Input::Net(text) => check(str::parse::<NetConfig>, text),
        Input::Rng(text) => check(str::parse::<RngConfig>, text),
        Input::Vsock(text) => check(str::parse::<VsockConfig>, text),
        Input::Balloon(text) => check(str::parse::<BalloonConfig>, text),
        Input::Size(text) => {
            if let Some(bytes) = parse_size(text) {
                assert_eq!(parse_size(&print_size(bytes)), Some(bytes));
            }
        }
        Input::PrintCpus(input) => {
            let config = cpus(input);
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintMemory { size, toggles, hugepage_size, hotplug } => {
            let [shared, hugepages, prefault, thp, virtio] = toggles;
            let config = MemoryConfig {
                size,
                shared,
                hugepages,
                hugepage_size,
                prefault,
                thp,
                hotplug_method: if virtio { HotplugMethod::VirtioMem } else { HotplugMethod::Acpi },
                hotplug_size: hotplug[0],
                hotplugged_size: hotplug[1],
                zones: Vec::new(),
            };
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintConsole { mode, path, id } => {
            let serial = console(&mode, path, None);
            assert_eq!(ConsoleConfig::parse_serial(&serial.to_string()), Ok(serial));
            let console = console(&mode, path, id);
            assert_eq!(ConsoleConfig::parse_console(&console.to_string()), Ok(console));
        }
        Input::PrintDisk(input) => {
            let config = disk(&input);
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintNet(input) => {
            let config = net(&input);
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintRng { src, id } => {
            let config = RngConfig { src: some(src).into(), id: id.map(some) };
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintVsock { cid, socket, id } => {
            let config = VsockConfig { cid, socket: some(socket).into(), id: id.map(some) };
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintBalloon { size, toggles, id } => {
            let [deflate_on_oom, free_page_reporting] = toggles;
            let id = id.map(some);
            let config = BalloonConfig { size, deflate_on_oom, free_page_reporting, id };
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintSize(bytes) => assert_eq!(parse_size(&print_size(bytes)), Some(bytes)),
        Input::MemoryZone(text) => check(str::parse::<MemoryZoneConfig>, text),
        Input::Numa(text) => check(str::parse::<NumaConfig>, text),
        Input::PrintMemoryZone { id, size, toggles, sizes } => {
            let [shared, hugepages, prefault] = toggles;
            let [hugepage_size, hotplug_size, hotplugged_size] = sizes;
            let id = some(id);
            let config = MemoryZoneConfig {
                id,
                size,
                shared,
                hugepages,
                hugepage_size,
                prefault,
                hotplug_size,
                hotplugged_size,
            };
            assert_eq!(config.to_string().parse(), Ok(config));
        }
        Input::PrintNuma { guest_numa_id, cpus, distances, memory_zones, pci_segments } => {
            let distances = distances.into_iter();
            let config = NumaConfig {
                guest_numa_id,
                cpus: cpus.into_iter().take(64).map(|cpu| cpu % MAX_VCPUS).collect(),
                distances: distances
                    .map(|(destination, distance)| NumaDistance { destination, distance })
                    .collect(),
                memory_zones: memory_zones.into_iter().map(some).collect(),
                pci_segments,
            };
            assert_eq!(config.to_string().parse(), Ok(config));
        }
    }
});
