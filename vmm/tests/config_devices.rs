//! Devices in configurations: option strings, JSON, what cannot be, ids, changes of a VM that exists.
#![expect(clippy::expect_used, reason = "a test ends where its premise fails")]
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vmm::config::{
    BalloonConfig, ConfigError, ConsoleConfig, DiskConfig, ImageType, MacAddr, NetConfig,
    RateLimiterConfig, Removal, RemoveDeviceConfig, ResizeConfig, ResizeDiskConfig, RngConfig,
    TokenBucket, VmConfig, VsockConfig,
};

fn json(text: &str) -> Result<VmConfig, String> {
    VmConfig::from_json(text.as_bytes()).map_err(|error| error.to_string())
}

fn parse<T: FromStr<Err = ConfigError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ConfigError| error.to_string())
}

/// The error of an option string that must have one.
fn mistake<T: FromStr<Err = ConfigError> + Debug>(text: &str) -> String {
    parse::<T>(text).expect_err(text)
}

fn valid<T: FromStr<Err = ConfigError> + Debug>(text: &str) -> T {
    parse(text).expect(text)
}

fn has(error: &str, expected: &str) {
    assert!(error.contains(expected), "{error}\n  lacks: {expected}");
    assert!(!error.contains(char::is_control), "{error:?}");
}

#[test]
fn options_of_every_device() {
    let disk: DiskConfig = valid(
        "path=\"/a,b\",readonly=on,direct=on,num_queues=4,queue_size=256,image_type=qcow2,serial=S1,\
         id=root,backing_files=on,disable_io_uring=on,bw_size=1M,bw_one_time_burst=2M,\
         bw_refill_time=100,ops_size=10,ops_refill_time=1000,iommu=off,pci_segment=0,sparse=on",
    );
    let bandwidth = TokenBucket { size: 1 << 20, one_time_burst: Some(2 << 20), refill_time: 100 };
    let ops = TokenBucket { size: 10, one_time_burst: None, refill_time: 1000 };
    let expected = DiskConfig {
        readonly: true,
        direct: true,
        num_queues: 4,
        queue_size: 256,
        image_type: Some(ImageType::Qcow2),
        serial: Some("S1".to_owned()),
        id: Some("root".to_owned()),
        backing_files: true,
        disable_io_uring: true,
        rate_limiter_config: RateLimiterConfig { bandwidth: Some(bandwidth), ops: Some(ops) },
        ..DiskConfig::of_path("/a,b")
    };
    assert_eq!(disk, expected);
    let net: NetConfig = valid(
        "tap=tap0,ip=192.168.249.1,mask=255.255.255.0,mac=52:54:00:12:34:56,\
         host_mac=52:54:00:12:34:57,mtu=1500,num_queues=4,queue_size=512,id=lan,offload_tso=off,\
         offload_ufo=off,offload_csum=off,vhost_user=false,vhost_mode=client",
    );
    assert_eq!(net.ip, Some(IpAddr::from([192, 168, 249, 1])));
    assert_eq!(net.host_mac, Some(MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x57])));
    assert_eq!((net.mtu, net.num_queues, net.queue_size), (Some(1500), 4, 512));
    assert!(!net.offload_tso && !net.offload_ufo && !net.offload_csum);
    assert_eq!(parse("tap=,mac=,ip=,mask="), Ok(NetConfig::default()));
    let open: NetConfig = valid("fd=[3,4]");
    assert_eq!((open.fds.as_slice(), open.num_queues), (&[3, 4][..], 4));
    assert_eq!(parse("src=/dev/random"), Ok(RngConfig { src: "/dev/random".into(), id: None }));
    let socket = PathBuf::from("/run/v");
    assert_eq!(parse("cid=3,socket=/run/v"), Ok(VsockConfig { cid: 3, socket, id: None }));
    let balloon: BalloonConfig = valid("size=1G,deflate_on_oom=on,free_page_reporting=on");
    assert!(balloon.size == 1 << 30 && balloon.deflate_on_oom && balloon.free_page_reporting);
    let console = ConsoleConfig::parse_console("id=hvc,pty").expect("valid");
    assert_eq!(console.to_string(), "pty,id=hvc");
}

#[test]
fn mistakes_in_options() {
    for (error, expected) in [
        (
            mistake::<DiskConfig>("readonly=on"),
            "--disk: path= is missing; allowed: path=, readonly=",
        ),
        (mistake::<DiskConfig>("path="), "--disk: path=\"\" is not valid; expected a path"),
        (mistake::<DiskConfig>("pth=x"), "--disk: unknown key \"pth\", did you mean \"path\"?"),
        (mistake::<DiskConfig>("path=x,image_type=vhdx"), "expected raw or qcow2"),
        (mistake::<DiskConfig>("path=x,queue_size=65536"), "expected a power of two up to 32768"),
        (
            mistake::<DiskConfig>("path=x,bw_size=1M"),
            "--disk: bw_size= needs bw_refill_time= beside",
        ),
        (mistake::<DiskConfig>("path=x,ops_refill_time=1"), "ops_refill_time= needs ops_size="),
        (mistake::<DiskConfig>("path=x,bw_one_time_burst=1"), "bw_one_time_burst= needs bw_size="),
        (mistake::<DiskConfig>("path=x,vhost_user=on"), "vhost_user=\"on\" asks for something"),
        (mistake::<DiskConfig>("path=x,pci_segment=1"), "pci_segment=\"1\" asks for something"),
        (mistake::<DiskConfig>("path=x,sparse=off"), "sparse=\"off\" asks for something"),
        (mistake::<NetConfig>(""), "--net: empty value"),
        (mistake::<NetConfig>("mac=52:54"), "expected six bytes in hexadecimal"),
        (mistake::<NetConfig>("ip=1.2.3"), "expected an IP address"),
        (mistake::<NetConfig>("fd=3"), "expected a list of descriptors"),
        (mistake::<NetConfig>("fd=[-1]"), "expected a list of descriptors"),
        (mistake::<NetConfig>("mtu=65536"), "expected a number of bytes up to 65535"),
        (mistake::<RngConfig>("source=x"), "--rng: unknown key \"source\""),
        (mistake::<VsockConfig>("cid=3"), "--vsock: socket= is missing"),
        (mistake::<VsockConfig>("socket=x"), "--vsock: cid= is missing"),
        (mistake::<VsockConfig>("cid=x,socket=x"), "expected a number from 3 to 4294967294"),
        (mistake::<BalloonConfig>("deflate_on_oom=on"), "--balloon: size= is missing"),
        (
            mistake::<BalloonConfig>("size=1G,statistics=on"),
            "--balloon: unknown key \"statistics\"",
        ),
    ] {
        has(&error, expected);
    }
    let error = ConsoleConfig::parse_console("id=x").expect_err("no mode").to_string();
    has(&error, "--console: empty mode; allowed: off, null");
    let error = ConsoleConfig::parse_serial("tty,id=x").expect_err("no id").to_string();
    has(&error, "--serial: id=\"x\" asks for something that is not supported");
}

#[test]
fn devices_in_json() {
    let config = json(
        r#"{"disks": [
                {"path": "/a", "image_type": "Unknown", "rate_limiter_config": null, "iommu": false,
                 "vhost_user": false, "lock_granularity": "ByteRange", "sparse": true},
                {"path": "/b", "image_type": "Raw", "id": "b", "rate_limiter_config":
                    {"ops": {"size": 5, "refill_time": 10}}}],
            "net": [{"mac": "52:54:00:12:34:56", "vhost_mode": "Client", "mtu": null}],
            "rng": {}, "vsock": {"cid": 3, "socket": "/run/v"}, "balloon": {"size": 4096},
            "console": {"mode": "Null", "id": "hvc"}, "pvpanic": true, "watchdog": true}"#,
    )
    .expect("valid");
    assert_eq!(config.disks[0], DiskConfig::of_path("/a"));
    let ops = TokenBucket { size: 5, one_time_burst: None, refill_time: 10 };
    assert_eq!(config.disks[1].rate_limiter_config.ops, Some(ops));
    assert_eq!(config.net[0].mac, Some(MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
    assert_eq!(config.rng, Some(RngConfig::default()));
    assert!(
        config.pvpanic && config.watchdog && config.vsock.is_some() && config.balloon.is_some()
    );
    for (text, expected) in [
        (r#"{"disks": {}}"#, "\"disks\" must be a JSON array, not an object"),
        (r#"{"disks": [7]}"#, "\"disks[0]\" must be a JSON object, not a number"),
        (r#"{"disks": [{"path": "a"}, {}]}"#, "field \"disks[1]\": missing field `path`"),
        (r#"{"disks": [{"pth": "a"}]}"#, "field \"disks[0].pth\", did you mean \"path\"?"),
        (r#"{"disks": [{"path": "a", "iommu": true}]}"#, "\"disks[0].iommu\" asks for something"),
        (r#"{"disks": [{"path": "a", "image_type": "Vhdx"}]}"#, "unknown variant `Vhdx`"),
        (
            r#"{"disks": [{"path": "a", "rate_limiter_config": {"bw": {}}}]}"#,
            "field \"disks[0].rate_limiter_config.bw\": unknown field `bw`",
        ),
        (r#"{"net": [{"fds": [3]}]}"#, "\"net[0].fds\" asks for something that is not supported"),
        (r#"{"net": [{"mac": "x"}]}"#, "field \"net[0].mac\": not an Ethernet address"),
        (r#"{"rng": {"wrong": 1}}"#, "unknown field \"rng.wrong\"; allowed here: src, id"),
        (r#"{"vsock": {"cid": -1, "socket": ""}}"#, "field \"vsock.cid\": invalid value"),
        (r#"{"balloon": {}}"#, "field \"balloon\": missing field `size`"),
        (r#"{"serial": {"mode": "Null", "id": "x"}}"#, "field \"serial.id\" asks for something"),
    ] {
        has(&json(text).expect_err(text), expected);
    }
}

#[test]
fn bodies_of_requests() {
    let disk = DiskConfig::from_json(br#"{"path": "/a", "id": null}"#);
    assert_eq!(disk, Ok(DiskConfig::of_path("/a")));
    assert_eq!(NetConfig::from_json(b"{}"), Ok(NetConfig::default()));
    let vsock = VsockConfig::from_json(br#"{"cid": 3, "socket": "/v"}"#);
    assert_eq!(vsock.map(|vsock| vsock.cid), Ok(3));
    let resize = ResizeDiskConfig::from_json(br#"{"id": "a", "desired_size": 512}"#);
    assert_eq!(resize.and_then(|resize| resize.validate()), Ok(()));
    let errors = [
        DiskConfig::from_json(b"[]").map(drop),
        ResizeConfig::from_json(br#"{"desired_baloon": 1}"#).map(drop),
        RemoveDeviceConfig::from_json(b"{}").map(drop),
        ResizeDiskConfig { id: "a".to_owned(), desired_size: 0 }.validate(),
        ResizeDiskConfig { id: "a".to_owned(), desired_size: 513 }.validate(),
    ];
    for (error, expected) in errors.into_iter().zip([
        "the body must be a JSON object, not an array",
        "unknown field \"desired_baloon\", did you mean \"desired_balloon\"?",
        "missing field `id`",
        "desired_size 0: a disk has a whole number of sectors",
        "desired_size 513: a disk has a whole number of sectors",
    ]) {
        has(&error.expect_err(expected).to_string(), expected);
    }
}

/// A configuration of option strings.
fn config(disks: &[&str], net: &[&str]) -> VmConfig {
    VmConfig {
        disks: disks.iter().map(|text| valid(text)).collect(),
        net: net.iter().map(|text| valid(text)).collect(),
        ..VmConfig::default()
    }
}

fn file(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("written");
    format!("path={}", path.display())
}

#[test]
fn devices_that_cannot_be() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = &file(directory.path(), "image", "x");
    let empty = &file(directory.path(), "empty", "");
    let disk = |options: &str| config(&[&format!("{image},{options}")], &[]);
    let net = |options: &str| config(&[], &[options]);
    let with = |change: &dyn Fn(&mut VmConfig)| {
        let mut config = VmConfig::default();
        change(&mut config);
        config
    };
    let vsock = |text: &str| with(&|config| config.vsock = Some(valid(text)));
    let balloon = |text: &str| with(&|config| config.balloon = Some(valid(text)));
    let rng = |text: &str| with(&|config| config.rng = Some(valid(text)));
    let twice = format!("{image},readonly=on");
    let other_name = format!("path={}/./image", directory.path().display());
    let long = format!("cid=3,socket=/{}", "x".repeat(96));
    let mut same_socket = vsock("cid=3,socket=/run/nowhere/s");
    same_socket.serial = ConsoleConfig::parse_serial("socket=/run/nowhere/s").expect("valid");
    let cases = vec![
        (config(&["path=/none/x"], &[]), "disks[0]: /none/x: No such file"),
        (config(&["path=/"], &[]), "disks[0]: /: is a directory"),
        (config(&["path=/dev/null"], &[]), "is neither a regular file nor a block device"),
        (config(&[image, empty], &[]), "empty: is empty; give the image a size"),
        (disk("num_queues=0"), "0 queues; at least 1"),
        (disk("num_queues=2"), "2 queues for 1 vCPUs"),
        (disk("queue_size=0"), "queues of 0 entries; their size is a power of two"),
        (disk("queue_size=100"), "queues of 100 entries"),
        (disk("serial=123456789012345678901"), "at most 20 printable ASCII characters"),
        (disk("serial=é"), "at most 20 printable ASCII characters"),
        (disk("image_type=raw,backing_files=on"), "a raw image has none"),
        (disk("bw_size=0,bw_refill_time=1"), "bw_size is 0, which would let nothing through"),
        (disk("ops_size=1,ops_refill_time=0"), "ops_refill_time is 0"),
        (disk("id=__disk"), "disks[0]: id \"__disk\": ids that begin with two underscores"),
        (disk("id=a/b"), "id \"a/b\": an id has 1 to 64 characters"),
        (config(&[image, &twice], &[]), "disks[0] and disks[1]: both want"),
        (config(&[image, &other_name], &[]), "only if all of them are readonly=on"),
        (net("num_queues=3"), "net[0]: 3 queues; they come in pairs"),
        (net("num_queues=0"), "0 pairs of queues"),
        (net("num_queues=4"), "2 pairs of queues for 1 vCPUs"),
        (net("tap=0123456789abcdef"), "an interface's name has 1 to 15 bytes"),
        (net("tap=a/b"), "no slash, colon or percent sign"),
        (net("tap=tap%d"), "no slash, colon or percent sign"),
        (net("fd=[1]"), "fd 1: 0 to 2 are standard input"),
        (net("fd=[3],tap=x"), "fd and tap exclude each other"),
        (net("fd=[3,4],num_queues=2"), "2 queues, but 2 descriptors"),
        (net("ip=10.0.0.1"), "an ip without a mask"),
        (net("mask=255.0.0.0"), "a mask without an ip"),
        (net("ip=10.0.0.1,mask=ffff::"), "are of different kinds"),
        (net("ip=10.0.0.1,mask=255.0.255.0"), "a mask is ones followed by zeroes"),
        (net("mac=01:00:00:00:00:00"), "mac 01:00:00:00:00:00: an interface cannot have it"),
        (net("mac=02:00:00:00:00:01,host_mac=02:00:00:00:00:01"), "the two ends need different"),
        (net("mtu=100"), "mtu 100 is too small; at least 1280"),
        (config(&[], &["tap=a", "tap=a"]), "net[0] and net[1]: both want the interface \"a\""),
        (
            config(&[], &["mac=02:00:00:00:00:01", "mac=02:00:00:00:00:01"]),
            "both want the address 02:00:00:00:00:01",
        ),
        (config(&[], &["id=a", "id=a"]), "two devices have the id \"a\""),
        (rng("src=/none/x"), "rng: src /none/x: No such file"),
        (rng("src=/"), "rng: src /: is a directory"),
        (vsock("cid=2,socket=/run/nowhere/s"), "vsock: cid 2: a guest has one from 3"),
        (vsock("cid=4294967295,socket=/run/nowhere/s"), "from 3 to 4294967294"),
        (vsock(&long), "the path has at most 96 bytes, so that _PORT fits"),
        (vsock("cid=3,socket=/dev/null"), "exists and is no socket"),
        (same_socket, "serial and vsock: both want the same socket"),
        (balloon("size=512M"), "balloon: 512MiB of 512MiB RAM; the guest must keep some"),
        (balloon("size=4097"), "no whole number of 4KiB pages"),
        (balloon("size=0,id=__rng"), "balloon: id \"__rng\": ids that begin with"),
    ];
    for (config, expected) in cases {
        has(&config.validate().expect_err(expected).to_string(), expected);
    }
    config(&[&twice, &twice], &["tap=a", "tap=b"]).validate().expect("shared for reading");
    vsock("cid=3,socket=/run/nowhere/s").validate().expect("a socket that is not there yet");
    balloon("size=256M,id=__balloon").validate().expect("its own name");
}

#[test]
fn devices_get_names() {
    let mut vm = config(&["path=/a", "path=/b,id=_net7"], &["tap=a", "id=lan"]);
    vm.vsock = Some(valid("cid=3,socket=/s"));
    vm.rng = Some(RngConfig::default());
    vm.name_devices();
    let expected = ["_disk8", "_net7", "_net9", "lan", "_vsock10", "__rng"];
    assert_eq!(vm.device_ids(), BTreeSet::from(expected.map(str::to_owned)));
    let named = vm.clone();
    vm.name_devices();
    assert_eq!(vm, named);
    let mut huge =
        config(&["path=/a,id=_disk4294967295", "path=/b", "path=/c,id=_disk4294967296"], &[]);
    huge.name_devices();
    assert_eq!(huge.device_ids().len(), 3, "{:?}", huge.device_ids());
}

#[test]
fn changes_of_a_vm_that_exists() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = file(directory.path(), "image", "x");
    let none = BTreeSet::new();
    let base = VmConfig { balloon: Some(valid("size=0")), ..VmConfig::default() };
    let (vm, id) = base.with_disk(valid(&image), &none).expect("added");
    assert_eq!(id, "_disk0");
    let (vm, id) = vm.with_net(valid("tap=a"), &["_net6".to_owned()].into()).expect("added");
    assert_eq!(id, "_net7");
    let (mut vm, id) = vm.with_vsock(valid("cid=3,socket=/nowhere/s"), &none).expect("added");
    assert_eq!(id, "_vsock8");
    vm.name_devices();
    let taken: BTreeSet<String> = ["x".to_owned()].into();
    let refused =
        |result: Result<(VmConfig, String), ConfigError>| result.expect_err("refused").to_string();
    has(&refused(vm.with_disk(valid(&image), &none)), "disks[0] and disks[1]: both want");
    has(&refused(vm.with_disk(valid("path=/none"), &none)), "disk: /none: No such file");
    has(&refused(vm.with_net(valid("id=x"), &taken)), "the device \"x\" is leaving");
    has(&refused(vm.with_net(valid("id=_disk0"), &none)), "two devices have the id \"_disk0\"");
    has(&refused(vm.with_vsock(valid("cid=4,socket=/t"), &none)), "the VM has one, _vsock8");
    assert_eq!(vm.without_device("__balloon"), Removal::Fixed);
    assert_eq!(vm.without_device("_disk1"), Removal::Unknown);
    for id in ["_disk0", "_net7", "_vsock8"] {
        let Removal::Removed(changed) = vm.without_device(id) else { panic!("{id}") };
        assert!(!changed.device_ids().contains(id));
        assert_eq!(changed.device_ids().len() + 1, vm.device_ids().len());
    }
    assert_eq!(vm.disk("_disk0"), vm.disks.first());
    let resize = |vcpus: Option<u32>, ram: Option<u64>, balloon: Option<u64>| ResizeConfig {
        desired_vcpus: vcpus,
        desired_ram: ram,
        desired_balloon: balloon,
    };
    let resized = vm.resized(&resize(Some(1), Some(512 << 20), Some(1 << 20))).expect("as it is");
    assert_eq!(resized.balloon.map(|balloon| balloon.size), Some(1 << 20));
    for (change, expected) in [
        (resize(None, None, None), "resize: nothing is asked for"),
        (resize(Some(0), None, None), "desired_vcpus 0: a VM has at least one vCPU"),
        (resize(Some(2), None, None), "desired_vcpus 2: the VM can have at most 1 (--cpus max=1)"),
        (resize(None, Some(1), None), "desired_ram 1: the VM has 536870912 bytes, and nothing"),
        (resize(None, None, Some(1)), "desired_balloon: 1 bytes are no whole number"),
        (resize(None, None, Some(1 << 40)), "desired_balloon: 1TiB of 512MiB RAM"),
    ] {
        has(&vm.resized(&change).expect_err(expected).to_string(), expected);
    }
    let mut roomy = vm.clone();
    roomy.cpus.max_vcpus = 4;
    for vcpus in [4, 1] {
        let resized =
            roomy.resized(&resize(Some(vcpus), None, None)).expect("as many as it can have");
        assert_eq!((resized.cpus.boot_vcpus, resized.cpus.max_vcpus), (vcpus, 4));
    }
    let error = VmConfig::default().resized(&resize(None, None, Some(0))).expect_err("no balloon");
    has(&error.to_string(), "the VM has no balloon");
}

#[test]
fn memory_can_have_what_it_was_created_for() {
    const GIB: u64 = 1 << 30;
    let memory = valid("size=1G,hotplug_method=virtio-mem,hotplug_size=2G");
    let vm = VmConfig { memory, ..VmConfig::default() };
    let resize = |ram| ResizeConfig { desired_ram: Some(ram), ..ResizeConfig::default() };
    for plugged in [0, 2 << 20, GIB, 2 * GIB] {
        let resized = vm.resized(&resize(GIB + plugged)).expect("possible");
        assert_eq!(resized.memory.hotplugged_size, Some(plugged));
        assert_eq!(resized.memory.size, GIB);
        resized.validate().expect("a VM");
    }
    for (ram, expected) in [
        (0, "desired_ram 0: the VM boots with 1073741824 bytes, which stay; a balloon takes"),
        (GIB - 4096, "which stay"),
        (GIB + 4096, "4096 bytes beside the 1073741824 that it boots with: memory is plugged in"),
        (3 * GIB + (2 << 20), "at most 2GiB can be plugged (hotplug_size)"),
        (u64::MAX, "at most 2GiB can be plugged (hotplug_size)"),
    ] {
        has(&vm.resized(&resize(ram)).expect_err(expected).to_string(), expected);
    }
    assert_eq!(vm.without_device("__memory"), Removal::Fixed);
    let taken: VmConfig = VmConfig { balloon: Some(valid("size=0,id=__memory")), ..vm };
    has(&taken.validate().expect_err("reserved").to_string(), "ids that begin with");
}
