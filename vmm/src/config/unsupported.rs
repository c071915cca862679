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
    Payload,
    Console,
}

impl Section {
    /// The fields that exist here.
    pub fn supported(self) -> &'static [&'static str] {
        match self {
            Self::Vm => &["cpus", "memory", "payload", "serial", "console"],
            Self::Cpus => &["boot_vcpus", "max_vcpus", "topology", "affinity"],
            Self::Memory => &["size", "shared", "hugepages", "hugepage_size", "prefault", "thp"],
            Self::Payload => &["kernel", "initramfs", "cmdline"],
            Self::Console => &["mode", "file", "socket"],
        }
    }

    /// How an unsupported field of this object asks for nothing; none for one that Cloud
    /// Hypervisor does not know either.
    pub fn unsupported_field(self, name: &str) -> Option<Idle> {
        let table = match self {
            Self::Vm => VM,
            Self::Cpus => CPUS,
            Self::Memory => MEMORY,
            Self::Payload => PAYLOAD,
            Self::Console => DEVICE,
        };
        table.iter().find(|(known, _)| *known == name).map(|(_, idle)| *idle)
    }
}

const VM: &[(&str, Idle)] = &[
    ("rate_limit_groups", Idle::Empty),
    ("disks", Idle::Empty),
    ("net", Idle::Empty),
    ("rng", Idle::Members(RNG)),
    ("balloon", Idle::Empty),
    ("fs", Idle::Empty),
    ("generic-vhost-user", Idle::Empty),
    ("generic_vhost_user", Idle::Empty),
    ("pmem", Idle::Empty),
    ("debug_console", Idle::Members(DEBUG_CONSOLE)),
    ("devices", Idle::Empty),
    ("user_devices", Idle::Empty),
    ("vdpa", Idle::Empty),
    ("vsock", Idle::Empty),
    ("numa", Idle::Empty),
    ("iommu", Idle::Empty),
    ("watchdog", Idle::Empty),
    ("rtc", Idle::Empty),
    ("pvpanic", Idle::Empty),
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

const MEMORY: &[(&str, Idle)] = &[
    ("hotplug_size", Idle::Empty),
    ("hotplugged_size", Idle::Empty),
    ("hotplug_method", Idle::Only(&["\"Acpi\""])),
    ("mergeable", Idle::Empty),
    ("reserve", Idle::Empty),
    ("zones", Idle::Empty),
];

const PAYLOAD: &[(&str, Idle)] =
    &[("firmware", Idle::Empty), ("igvm", Idle::Empty), ("host_data", Idle::Empty)];

const DEVICE: &[(&str, Idle)] = &[
    ("id", Idle::Empty),
    ("iommu", Idle::Empty),
    ("pci_segment", Idle::Empty),
    ("pci_device_id", Idle::Empty),
];

// There is no virtio-rng; Linux seeds itself from the boot parameters.
const RNG: &[(&str, Idle)] = &[
    ("src", Idle::Only(&["\"/dev/urandom\""])),
    ("id", Idle::Empty),
    ("iommu", Idle::Empty),
    ("pci_segment", Idle::Empty),
    ("pci_device_id", Idle::Empty),
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
