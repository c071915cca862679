//! Fields of Cloud Hypervisor's `VmConfig` that mean nothing here yet.
//!
//! A client that fills its whole model in sends them with their defaults. Those are let pass,
//! because they ask for nothing; any other value is refused, because to ignore it would make
//! another VM than the one that was asked for. The field names and defaults are those of Cloud
//! Hypervisor's `vmm/src/api/openapi/cloud-hypervisor.yaml` and `docs/`.
use serde_json::Value;

/// Which values of an unsupported field ask for nothing. Null always does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Idle {
    /// False, zero, and what is empty.
    Empty,
    /// These JSON texts and no others.
    Only(&'static [&'static str]),
    /// An object whose members are all idle.
    Members(&'static [(&'static str, Idle)]),
}

/// An object of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Vm,
    Cpus,
    Memory,
    MemoryZone,
    Numa,
    Payload,
    Serial,
    Console,
    Disk,
    Net,
    Rng,
    Vsock,
    Balloon,
    /// The body of `vm.resize`.
    Resize,
    /// The body of `vm.resize-disk`.
    ResizeDisk,
    /// The body of `vm.remove-device`.
    RemoveDevice,
    /// The body of `vm.snapshot`.
    Snapshot,
    /// The body of `vm.restore`.
    Restore,
    /// The body of `vm.send-migration`.
    SendMigration,
    /// The body of `vm.receive-migration`.
    ReceiveMigration,
    /// The body of `vm.migration-resolve`.
    Resolve,
}

impl Section {
    /// The fields that exist here.
    pub fn supported(self) -> &'static [&'static str] {
        match self {
            Self::Vm => &[
                "cpus", "memory", "numa", "payload", "disks", "net", "rng", "vsock", "balloon",
                "serial", "console", "pvpanic", "watchdog",
            ],
            Self::Cpus => &["boot_vcpus", "max_vcpus", "topology", "affinity"],
            Self::Memory => &[
                "size",
                "shared",
                "hugepages",
                "hugepage_size",
                "prefault",
                "thp",
                "hotplug_method",
                "hotplug_size",
                "hotplugged_size",
                "zones",
            ],
            Self::MemoryZone => &[
                "id",
                "size",
                "shared",
                "hugepages",
                "hugepage_size",
                "prefault",
                "hotplug_size",
                "hotplugged_size",
            ],
            Self::Numa => &["guest_numa_id", "cpus", "distances", "memory_zones", "pci_segments"],
            Self::Payload => &["kernel", "initramfs", "cmdline"],
            Self::Serial => &["mode", "file", "socket"],
            Self::Console => &["mode", "file", "socket", "id"],
            Self::Disk => &[
                "path",
                "readonly",
                "direct",
                "num_queues",
                "queue_size",
                "image_type",
                "serial",
                "id",
                "backing_files",
                "disable_io_uring",
                "rate_limiter_config",
            ],
            Self::Net => &[
                "tap",
                "ip",
                "mask",
                "mac",
                "host_mac",
                "mtu",
                "num_queues",
                "queue_size",
                "id",
                "offload_tso",
                "offload_ufo",
                "offload_csum",
                "rate_limiter_config",
            ],
            Self::Rng => &["src", "id"],
            Self::Vsock => &["cid", "socket", "id"],
            Self::Balloon => &["size", "deflate_on_oom", "free_page_reporting", "id"],
            Self::Resize => &["desired_vcpus", "desired_ram", "desired_balloon"],
            Self::ResizeDisk => &["id", "desired_size"],
            Self::RemoveDevice => &["id"],
            Self::Snapshot => &["destination_url", "live", "base_url"],
            Self::Restore => &["source_url", "resume", "memory_restore_mode"],
            Self::SendMigration => &[
                "destination_url",
                "downtime_ms",
                "timeout_s",
                "timeout_strategy",
                "connections",
                "compression",
                "tls_dir",
                "local",
                "memory_mode",
                "precopy_rounds",
            ],
            Self::ReceiveMigration => &["receiver_url", "tls_dir"],
            Self::Resolve => &["resolution"],
        }
    }

    /// How an unsupported field of this object asks for nothing; none for one that Cloud
    /// Hypervisor does not know either.
    pub fn unsupported_field(self, name: &str) -> Option<Idle> {
        let (table, common) = match self {
            Self::Vm => (VM, NONE),
            Self::Cpus => (CPUS, NONE),
            Self::Memory => (MEMORY, NONE),
            Self::MemoryZone => (MEMORY_ZONE, NONE),
            Self::Numa => (NUMA, NONE),
            Self::Payload => (PAYLOAD, NONE),
            Self::Serial => (SERIAL, PCI),
            Self::Disk => (DISK, PCI),
            Self::Net => (NET, PCI),
            Self::Console | Self::Rng | Self::Vsock | Self::Balloon => (NONE, PCI),
            Self::Restore => (RESTORE, NONE),
            Self::SendMigration => (SEND_MIGRATION, NONE),
            Self::ReceiveMigration => (RECEIVE_MIGRATION, NONE),
            Self::Resize
            | Self::ResizeDisk
            | Self::RemoveDevice
            | Self::Snapshot
            | Self::Resolve => (NONE, NONE),
        };
        let mut fields = table.iter().chain(common);
        fields.find(|(known, _)| *known == name).map(|(_, idle)| *idle)
    }
}

const NONE: &[(&str, Idle)] = &[];

const VM: &[(&str, Idle)] = &[
    ("rate_limit_groups", Idle::Empty),
    ("fs", Idle::Empty),
    ("generic-vhost-user", Idle::Empty),
    ("generic_vhost_user", Idle::Empty),
    ("pmem", Idle::Empty),
    ("debug_console", Idle::Members(DEBUG_CONSOLE)),
    ("devices", Idle::Empty),
    ("user_devices", Idle::Empty),
    ("vdpa", Idle::Empty),
    ("iommu", Idle::Empty),
    ("rtc", Idle::Empty),
    ("pci_segments", Idle::Empty),
    ("platform", Idle::Members(PLATFORM)),
    ("tpm", Idle::Empty),
    ("gdb", Idle::Empty),
    ("preserved_fds", Idle::Empty),
    ("landlock_enable", Idle::Empty),
    ("landlock_rules", Idle::Empty),
];

const CPUS: &[(&str, Idle)] = &[
    ("kvm_hyperv", Idle::Empty),
    // 46 is the width that Cloud Hypervisor takes by default; the host may have fewer bits.
    ("max_phys_bits", Idle::Only(&["46"])),
    // On by default: the guest sees what the host's KVM offers, as it does here.
    ("nested", Idle::Only(&["true"])),
    ("features", Idle::Members(&[("amx", Idle::Empty)])),
    ("core_scheduling", Idle::Only(&["\"Vm\"", "\"Off\""])),
];

const MEMORY: &[(&str, Idle)] = &[("mergeable", Idle::Empty), ("reserve", Idle::Empty)];

const MEMORY_ZONE: &[(&str, Idle)] = &[
    ("file", Idle::Empty),
    ("mergeable", Idle::Empty),
    ("reserve", Idle::Empty),
    // Node 0 is one that can be asked for, too.
    ("host_numa_node", Idle::Only(&[])),
];

const NUMA: &[(&str, Idle)] = &[("device_id", Idle::Empty)];

const PAYLOAD: &[(&str, Idle)] =
    &[("firmware", Idle::Empty), ("igvm", Idle::Empty), ("host_data", Idle::Empty)];

/// What every PCI device of Cloud Hypervisor has: here there is one segment, a guest sees real
/// addresses, and slots are given out in order.
const PCI: &[(&str, Idle)] =
    &[("iommu", Idle::Empty), ("pci_segment", Idle::Empty), ("pci_device_id", Idle::Empty)];

const SERIAL: &[(&str, Idle)] = &[("id", Idle::Empty)];

const DISK: &[(&str, Idle)] = &[
    ("vhost_user", Idle::Empty),
    ("vhost_socket", Idle::Empty),
    ("rate_limit_group", Idle::Empty),
    ("queue_affinity", Idle::Empty),
    ("disable_aio", Idle::Empty),
    // Discarded blocks are given back to the host's file system.
    ("sparse", Idle::Only(&["true"])),
    // The image is locked either way; which lock it is shows only to other programs.
    ("lock_granularity", Idle::Only(&["\"ByteRange\"", "\"Full\""])),
];

const NET: &[(&str, Idle)] = &[
    ("vhost_user", Idle::Empty),
    ("vhost_socket", Idle::Empty),
    ("vhost_mode", Idle::Only(&["\"Client\""])),
    // Numbers of descriptors mean nothing in another process.
    ("fds", Idle::Empty),
];

const DEBUG_CONSOLE: &[(&str, Idle)] =
    &[("mode", Idle::Only(&["\"Off\""])), ("file", Idle::Empty), ("iobase", Idle::Only(&["233"]))];

const PLATFORM: &[(&str, Idle)] = &[
    ("num_pci_segments", Idle::Only(&["0", "1"])),
    ("iommu_segments", Idle::Empty),
    ("iommu_address_width_bits", Idle::Only(&["64"])),
    ("serial_number", Idle::Empty),
    ("system_serial_number", Idle::Empty),
    ("uuid", Idle::Empty),
    ("system_uuid", Idle::Empty),
    ("oem_strings", Idle::Empty),
    ("system_manufacturer", Idle::Empty),
    ("system_product_name", Idle::Empty),
    ("system_version", Idle::Empty),
    ("system_family", Idle::Empty),
    ("system_sku_number", Idle::Empty),
    ("chassis_asset_tag", Idle::Empty),
    ("tdx", Idle::Empty),
    ("sev_snp", Idle::Empty),
    ("iommufd", Idle::Empty),
    ("vfio_p2p_dma", Idle::Only(&["true"])),
];

const RESTORE: &[(&str, Idle)] = &[("prefault", Idle::Empty), ("net_fds", Idle::Empty)];

const SEND_MIGRATION: &[(&str, Idle)] = &[];

const RECEIVE_MIGRATION: &[(&str, Idle)] = &[("net_fds", Idle::Empty)];

/// The path of the first value below `path` that asks for something, if one does.
pub(super) fn first_request(idle: Idle, path: &str, value: &Value) -> Option<String> {
    let asks = match (idle, value) {
        (_, Value::Null) => false,
        (Idle::Empty, Value::Bool(on)) => *on,
        (Idle::Empty, Value::Number(number)) => number.as_f64() != Some(0.0),
        (Idle::Empty, Value::String(text)) => !text.is_empty(),
        (Idle::Empty, Value::Array(elements)) => !elements.is_empty(),
        (Idle::Empty, Value::Object(members)) => !members.is_empty(),
        (Idle::Only(allowed), value) => !allowed.contains(&value.to_string().as_str()),
        (Idle::Members(known), Value::Object(members)) => {
            return members.iter().find_map(|(name, value)| {
                let member = known.iter().find(|(known, _)| known == name);
                let idle = member.map_or(Idle::Only(&[]), |(_, idle)| *idle);
                first_request(idle, &format!("{path}.{name}"), value)
            });
        }
        (Idle::Members(_), _) => true,
    };
    asks.then(|| path.to_owned())
}

/// The same for the text after `key=` in an option string.
pub(super) fn option_asks_for_nothing(idle: Idle, text: &str) -> bool {
    match (idle, text) {
        (Idle::Empty | Idle::Members(_), "" | "off" | "false" | "0" | "[]") => true,
        (Idle::Only(allowed), "on") => allowed.contains(&"true"),
        // Cloud Hypervisor's option strings have names in lower case, its JSON capitalises them.
        (Idle::Only(allowed), text) => {
            allowed.iter().any(|json| json.trim_matches('"').eq_ignore_ascii_case(text))
        }
        _ => false,
    }
}
