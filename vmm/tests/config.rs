//! Configurations from option strings and from JSON: what is accepted, and what each mistake says.
use std::path::PathBuf;

use vmm::config::{
    ConsoleConfig, ConsoleMode, CpuAffinity, CpuTopology, CpusConfig, HotplugMethod, MemoryConfig,
    RngConfig, VmConfig,
};

fn cpus(text: &str) -> Result<CpusConfig, String> {
    text.parse().map_err(|error: vmm::config::ConfigError| error.to_string())
}

fn memory(text: &str) -> Result<MemoryConfig, String> {
    text.parse().map_err(|error: vmm::config::ConfigError| error.to_string())
}

fn serial(text: &str) -> Result<ConsoleConfig, String> {
    ConsoleConfig::parse_serial(text).map_err(|error| error.to_string())
}

fn json(text: &str) -> Result<VmConfig, String> {
    VmConfig::from_json(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn cpus_options() {
    let full = cpus("boot=4,max=8,topology=2:2:1:2,affinity=[0@[0-3],1@[2,4]]");
    assert_eq!(
        full,
        Ok(CpusConfig {
            boot_vcpus: 4,
            max_vcpus: 8,
            topology: Some(CpuTopology {
                threads_per_core: 2,
                cores_per_die: 2,
                dies_per_package: 1,
                packages: 2,
            }),
            affinity: vec![
                CpuAffinity { vcpu: 0, host_cpus: vec![0, 1, 2, 3] },
                CpuAffinity { vcpu: 1, host_cpus: vec![2, 4] },
            ],
        })
    );
    let boot_only = cpus("boot=3").expect("valid");
    assert_eq!((boot_only.boot_vcpus, boot_only.max_vcpus), (3, 3));
    let idle = "boot=1,kvm_hyperv=off,nested=on,core_scheduling=vm,max_phys_bits=46";
    assert_eq!(cpus(idle), Ok(CpusConfig::default()));
}

#[test]
fn memory_options() {
    assert_eq!(
        memory("size=2G,shared=on,hugepages=true,hugepage_size=1G,prefault=on,thp=off"),
        Ok(MemoryConfig {
            size: 2 << 30,
            shared: true,
            hugepages: true,
            hugepage_size: Some(1 << 30),
            prefault: true,
            thp: false,
            ..MemoryConfig::default()
        })
    );
    assert_eq!(
        memory("size=1G,hotplug_method=virtio-mem,hotplug_size=2G,hotplugged_size=512M"),
        Ok(MemoryConfig {
            size: 1 << 30,
            hotplug_method: HotplugMethod::VirtioMem,
            hotplug_size: Some(2 << 30),
            hotplugged_size: Some(512 << 20),
            ..MemoryConfig::default()
        })
    );
    assert_eq!(memory("shared=off"), Ok(MemoryConfig::default()));
    assert_eq!(memory("size=512M,mergeable=off,hotplug_method=acpi"), Ok(MemoryConfig::default()));
}

#[test]
fn console_options() {
    for (text, mode) in [
        ("off", ConsoleMode::Off),
        ("null", ConsoleMode::Null),
        ("tty", ConsoleMode::Tty),
        ("pty", ConsoleMode::Pty),
    ] {
        assert_eq!(serial(text), Ok(ConsoleConfig::of_mode(mode)));
    }
    let file = serial("file=\"/tmp/a, \"\"b\"\"\"").expect("valid");
    assert_eq!(file.mode, ConsoleMode::File);
    assert_eq!(file.file, Some(PathBuf::from("/tmp/a, \"b\"")));
    let socket = serial("socket=/run/x=y").expect("valid");
    assert_eq!(socket.mode, ConsoleMode::Socket);
    assert_eq!(socket.socket, Some(PathBuf::from("/run/x=y")));
}

#[test]
fn mistakes_in_options_say_what_and_what_is_allowed() {
    let cpus_error = |text| cpus(text).expect_err(text);
    let memory_error = |text| memory(text).expect_err(text);
    let serial_error = |text| serial(text).expect_err(text);
    for (error, expected) in [
        (
            cpus_error("bot=4"),
            "--cpus: unknown key \"bot\", did you mean \"boot\"?; \
             allowed: boot=, max=, topology=, affinity=",
        ),
        (
            cpus_error("zebra=4"),
            "--cpus: unknown key \"zebra\"; allowed: boot=, max=, topology=, affinity=",
        ),
        (cpus_error("4"), "--cpus: unknown key \"4\""),
        (cpus_error(""), "--cpus: empty value; allowed: boot="),
        (cpus_error("boot=1,"), "--cpus: empty item"),
        (cpus_error("=1"), "--cpus: empty item"),
        (cpus_error("boot"), "--cpus: key \"boot\" needs a value"),
        (cpus_error("boot="), "--cpus: boot=\"\" is not valid; expected a number of vCPUs"),
        (cpus_error("boot=-1"), "--cpus: boot=\"-1\" is not valid"),
        (cpus_error("boot=4294967296"), "--cpus: boot=\"4294967296\" is not valid"),
        (cpus_error("boot=1,boot=2"), "--cpus: key \"boot\" is given more than once"),
        (cpus_error("topology=1:2"), "expected threads:cores:dies:packages"),
        (cpus_error("topology=1:2:3:4:5"), "expected threads:cores:dies:packages"),
        (cpus_error("affinity=[0@[1]"), "--cpus: unbalanced brackets"),
        (cpus_error("affinity=0"), "--cpus: affinity=\"0\" is not valid; expected a list"),
        (cpus_error("kvm_hyperv=on"), "--cpus: kvm_hyperv=\"on\" asks for something that is not"),
        (cpus_error("nested=off"), "--cpus: nested=\"off\" asks for something that is not"),
        (memory_error("size=1Q"), "--memory: size=\"1Q\" is not valid; expected a size"),
        (memory_error("shared=maybe"), "expected on or off"),
        (memory_error("sized=1G"), "did you mean \"size\"?"),
        (memory_error("mergeable=on"), "--memory: mergeable=\"on\" asks for something"),
        (memory_error("hotplug_method=dimm"), "expected virtio-mem or acpi"),
        (memory_error("hotplug_size=all"), "hotplug_size=\"all\" is not valid; expected a size"),
        (memory_error("hotplugsize=1G"), "did you mean \"hotplug_size\"?"),
        (serial_error("ttty"), "--serial: unknown key \"ttty\", did you mean \"tty\"?"),
        (serial_error("tty=1"), "--serial: \"tty\" stands alone"),
        (serial_error("file"), "--serial: key \"file\" needs a value"),
        (serial_error("file="), "--serial: file=\"\" is not valid; expected a path"),
        (serial_error("tty,pty"), "--serial: \"tty\" and \"pty\" exclude each other"),
        (serial_error("file=\"a"), "--serial: quote without an end"),
    ] {
        assert!(error.contains(expected), "{error}\n  lacks: {expected}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn json_defaults_and_idle_fields() {
    assert_eq!(json("{}"), Ok(VmConfig::default()));
    let config = VmConfig::default();
    assert_eq!(config.serial.mode, ConsoleMode::Null);
    assert_eq!(config.console.mode, ConsoleMode::Off);
    let idle = r#"{
        "cpus": {"boot_vcpus": 2, "max_vcpus": 4, "kvm_hyperv": false, "max_phys_bits": 46,
                 "topology": null, "affinity": null, "nested": true, "features": {"amx": false},
                 "core_scheduling": "Vm"},
        "memory": {"size": 536870912, "mergeable": false, "hotplug_method": "Acpi", "zones": null,
                   "hotplug_size": null, "hotplugged_size": null, "hugepage_size": null},
        "payload": {"firmware": null, "kernel": null, "igvm": null, "host_data": null},
        "rate_limit_groups": null, "disks": null, "net": [],
        "rng": {"src": "/dev/urandom", "iommu": false, "pci_segment": 0},
        "balloon": null, "fs": null, "pmem": null, "devices": null, "user_devices": null,
        "vdpa": null, "vsock": null, "pvpanic": false, "iommu": false, "numa": null,
        "watchdog": false, "pci_segments": null, "tpm": null, "landlock_enable": false,
        "platform": {"num_pci_segments": 1, "iommu_segments": null, "tdx": false,
                     "vfio_p2p_dma": true},
        "debug_console": {"file": null, "mode": "Off", "iobase": 233},
        "serial": {"file": null, "mode": "Null", "iommu": false},
        "console": {"mode": "Off", "pci_segment": 0}
    }"#;
    let mut expected = VmConfig::default();
    (expected.cpus.boot_vcpus, expected.cpus.max_vcpus) = (2, 4);
    expected.rng = Some(RngConfig::default());
    assert_eq!(json(idle), Ok(expected));
    assert_eq!(json(r#"{"cpus": {"boot_vcpus": 3}}"#).map(|config| config.cpus.max_vcpus), Ok(3));
}

#[test]
fn mistakes_in_json_name_the_field() {
    for (text, expected) in [
        ("", "malformed JSON: EOF"),
        ("{", "malformed JSON"),
        ("{\"cpus\": }", "malformed JSON: expected value at line 1 column 10"),
        (
            "{\"cpus\": {\"max_vcpus\": 1, \"max_vcpus\": 2}}",
            "duplicate field \"max_vcpus\" at line 1",
        ),
        ("{\"x\": 1.5e400}", "malformed JSON: number out of range"),
        ("[]", "the configuration must be a JSON object, not an array"),
        ("{\"cpus\": 4}", "\"cpus\" must be a JSON object, not a number"),
        ("{\"cpu\": {}}", "unknown field \"cpu\", did you mean \"cpus\"?; allowed here: cpus, mem"),
        ("{\"memory\": {\"sizes\": 1}}", "unknown field \"memory.sizes\", did you mean \"size\"?"),
        ("{\"fs\": [{\"tag\": \"x\"}]}", "field \"fs\" asks for something that is not"),
        ("{\"watchdog\": 1}", "field \"watchdog\": invalid type"),
        ("{\"cpus\": {\"nested\": false}}", "field \"cpus.nested\" asks for something"),
        ("{\"payload\": {\"firmware\": \"f\"}}", "field \"payload.firmware\" asks for something"),
        ("{\"cpus\": {\"boot_vcpus\": -1}}", "field \"cpus.boot_vcpus\": invalid value"),
        ("{\"cpus\": {\"boot_vcpus\": \"4\"}}", "field \"cpus.boot_vcpus\": invalid type"),
        ("{\"serial\": {\"mode\": \"Tyt\"}}", "field \"serial.mode\": unknown variant `Tyt`"),
        ("{\"serial\": {}}", "field \"serial\": missing field `mode`"),
        ("{\"serial\": {\"mode\": \"a\\nb\\u001b\"}}", "unknown variant `a\\nb\\u{1b}`"),
        (
            "{\"cpus\": {\"topology\": {\"threads_per_core\": 1, \"cores_per_die\": 1, \
             \"dies_per_package\": 1, \"packages\": 1, \"sockets\": 1}}}",
            "field \"cpus.topology.sockets\": unknown field `sockets`",
        ),
        (
            "{\"cpus\": {\"affinity\": [{\"vcpu\": 0, \"host_cpus\": [0], \"numa\": 1}]}}",
            "field \"cpus.affinity[0].numa\": unknown field `numa`",
        ),
        (
            "{\"cpus\": {\"affinity\": [{\"vcpu\": 0, \"host_cpus\": [true]}]}}",
            "field \"cpus.affinity[0].host_cpus[0]\": invalid type",
        ),
    ] {
        let error = json(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}\n  lacks: {expected}");
        assert!(!error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn configurations_that_make_no_vm() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").expect("written");
    let kernel = directory.path().join("kernel");
    std::fs::write(&kernel, "x").expect("written");
    let base = VmConfig::default;
    let with_cpus = |text| VmConfig { cpus: cpus(text).expect(text), ..base() };
    let with_memory = |text: &str| VmConfig { memory: memory(text).expect(text), ..base() };
    let with_serial = |text| VmConfig { serial: serial(text).expect(text), ..base() };
    let with_payload = |kernel: Option<&PathBuf>, initramfs: Option<&PathBuf>| {
        let mut config = base();
        config.payload.kernel = kernel.cloned();
        config.payload.initramfs = initramfs.cloned();
        config
    };
    let missing = directory.path().join("missing");
    let folder = directory.path().to_path_buf();
    let mut no_file = base();
    no_file.serial.mode = ConsoleMode::File;
    let mut no_socket = base();
    no_socket.console.mode = ConsoleMode::Socket;
    let mut stray_file = base();
    stray_file.serial.file = Some("x".into());
    let mut two_terminals = with_serial("tty");
    two_terminals.console = serial("tty").expect("valid");
    let mut same_file = with_serial("file=x");
    same_file.console = serial("file=x").expect("valid");
    let long_socket = format!("socket=/{}", "x".repeat(107));
    let mut zero_byte = base();
    zero_byte.payload.cmdline = Some("a\0b".to_owned());
    // Too many for the stack.
    for (config, expected) in vec![
        (with_cpus("boot=0"), "cpus: 0 vCPUs at boot"),
        (with_cpus("boot=4,max=2"), "cpus: 4 vCPUs at boot are more than the maximum of 2"),
        (with_cpus("boot=1025"), "cpus: 1025 vCPUs; at most 1024"),
        (with_cpus("boot=1,max=5000"), "cpus: 5000 vCPUs; at most 1024"),
        (with_cpus("boot=8,topology=2:2:1:1"), "topology 2:2:1:1 describes 4 vCPUs"),
        (with_cpus("boot=1,topology=0:1:1:1"), "topology 0:1:1:1 describes 0 vCPUs"),
        (with_cpus("boot=2,affinity=[2@[0]]"), "affinity of vCPU 2, but the last one is 1"),
        (with_cpus("affinity=[0@[0],0@[1]]"), "affinity of vCPU 0 is given more than once"),
        (with_cpus("affinity=[0@[]]"), "affinity of vCPU 0 allows no host CPU"),
        (with_memory("size=0"), "memory: 0 bytes are too little; at least 16MiB"),
        (with_memory("size=8M"), "memory: 8MiB are too little"),
        (with_memory("size=16777217"), "no whole number of 4KiB pages"),
        (with_memory("size=8192T"), "memory: 8192TiB are too much"),
        (with_memory("hugepage_size=2M"), "hugepage_size is given, but hugepages is off"),
        (with_memory("hugepages=on,hugepage_size=3M"), "3MiB is no size of a huge page"),
        (with_memory("size=17M,hugepages=on,hugepage_size=2M"), "no whole number of 2MiB pages"),
        (with_payload(Some(&missing), None), "No such file"),
        (with_payload(Some(&folder), None), "is a directory"),
        (with_payload(Some(&directory.path().join("a\nb\x1B")), None), "/a\\nb\\u{1b}: No such"),
        (with_payload(Some(&empty), None), "is empty"),
        (with_payload(Some(&PathBuf::from("/dev/null")), None), "is not a regular file"),
        (with_payload(None, Some(&kernel)), "without a kernel"),
        (with_payload(Some(&kernel), Some(&missing)), "payload: initramfs"),
        (zero_byte, "zero byte"),
        (no_file, "serial: mode File needs the path of a file"),
        (no_socket, "console: mode Socket needs the path of a socket"),
        (stray_file, "serial: a file is given, but the mode is Null"),
        (two_terminals, "serial and console: both want the terminal"),
        (same_file, "serial and console: both want the same file"),
        (with_serial(&long_socket), "at most 107 bytes"),
    ] {
        let error = config.validate().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\n  lacks: {expected}");
        assert!(!error.contains('\n'), "{error}");
    }
    base().validate().expect("the default is a VM");
    with_payload(Some(&kernel), Some(&kernel)).validate().expect("files that exist");
    with_cpus("boot=2,max=8,topology=2:2:1:2").validate().expect("product equals max");
}

#[test]
fn memory_that_cannot_be_plugged() {
    let with_memory =
        |text: &str| VmConfig { memory: memory(text).expect(text), ..VmConfig::default() };
    let with_plug =
        |text: &str| with_memory(&format!("hotplug_method=virtio-mem,hotplug_size={text}"));
    for (config, expected) in [
        (with_memory("hotplug_size=1G"), "memory: hotplug_size 1GiB, but hotplug_method is Acpi"),
        (with_memory("hotplug_method=virtio-mem"), "memory: hotplug_method is virtio-mem, but"),
        (with_memory("hotplugged_size=1G"), "memory: hotplugged_size 1GiB: at most 0 bytes"),
        (with_plug("1G,hotplugged_size=2G"), "hotplugged_size 2GiB: at most 1GiB can be plugged"),
        (with_plug("1G,hotplugged_size=1M"), "hotplugged_size 1MiB: memory is plugged in multi"),
        (with_plug("100M"), "memory: hotplug_size 100MiB is no multiple of 128MiB"),
        (with_plug("1024T"), "hotplug_size 1024TiB beside 512MiB are too much; at most 1024TiB"),
        (with_plug("1G,hugepages=on"), "hugepages=on and hotplug_size exclude each other"),
    ] {
        let error = config.validate().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\n  lacks: {expected}");
    }
    with_memory("hotplug_method=acpi,hotplug_size=0").validate().expect("nothing is asked for");
    with_plug("1G,hotplugged_size=1G,shared=on,prefault=on").validate().expect("all of it");
}
