//! Taps that are made, opened, handed in, and refused.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use devices::virtio::VirtioDevice;
use devices::virtio::net::{Net, NetError, NetOptions};

use super::bed::{in_namespace, options};

/// Long enough that only what never comes takes longer.
const NEVER: Duration = Duration::from_secs(30);

/// Runs ip(8) in this thread's namespace; what it says.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip(8)");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A queue of a tap, as a program that hands taps to VMs opens it.
fn queue(tap: &str, flags: u16) -> OwnedFd {
    let file = std::fs::File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut request = [0_u64; 5];
    let mut bytes = [0; 40];
    bytes[..tap.len()].copy_from_slice(tap.as_bytes());
    bytes[16..18].copy_from_slice(&flags.to_ne_bytes());
    for (word, bytes) in request.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    // SAFETY: the request reads and writes one `struct ifreq`, of 40 bytes, which outlives the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    file.into()
}

fn named(tap: &str, pairs: u16) -> NetOptions {
    NetOptions { tap: Some(tap.into()), ..options(pairs) }
}

/// The card, once the tap's card before is gone for good: a child of another test has a copy of every descriptor between its fork
/// and its exec.
fn once_it_is_free(options: impl Fn() -> NetOptions) -> Net {
    let begun = Instant::now();
    loop {
        match Net::new("net0".into(), options()) {
            Err(NetError::InUse { .. }) => assert!(begun.elapsed() < NEVER, "it stays in use"),
            result => return result.unwrap(),
        }
    }
}

fn refusal(options: NetOptions) -> NetError {
    Net::new("net0".into(), options).err().expect("it cannot be made")
}

#[test]
fn a_tap_is_made_as_the_options_say_and_ends_with_the_card() {
    in_namespace(|| {
        let made = NetOptions { mtu: Some(1400), ..named("made", 2) };
        let net = Net::new("net0".into(), made).unwrap();
        assert_eq!(net.tap(), "made");
        let shown = ip("address show dev made");
        for expected in ["mtu 1400", "02:00:00:00:00:01", "inet 10.0.0.1/24", "UP"] {
            assert!(shown.contains(expected), "{shown}");
        }
        let mut config = [0; 12];
        net.read_config(0, &mut config);
        assert_eq!(config, [2, 0, 0, 0, 0, 2, 1, 0, 2, 0, 0x78, 0x05]);
        drop(net);
        // A child of another test has a copy of every descriptor between its fork and its exec.
        let begun = Instant::now();
        while ip("link show").contains("made") {
            assert!(begun.elapsed() < NEVER, "the tap outlives its card");
        }
    });
}

#[test]
fn without_a_name_the_kernel_chooses_one_for_each() {
    in_namespace(|| {
        let make = || Net::new("net0".into(), NetOptions::default()).unwrap();
        let (one, other) = (make(), make());
        assert_ne!(one.tap(), other.tap());
        assert!(ip("link show").contains(one.tap()));
    });
}

#[test]
fn a_persistent_tap_is_opened_keeps_its_mtu_and_stays() {
    in_namespace(|| {
        ip("tuntap add dev kept mode tap");
        ip("link set kept mtu 1300 up");
        let net = Net::new(
            "net0".into(),
            NetOptions { tap: Some("kept".into()), ..NetOptions::default() },
        );
        let net = net.unwrap();
        let mut mtu = [0; 2];
        net.read_config(10, &mut mtu);
        assert_eq!(u16::from_le_bytes(mtu), 1300);
        drop(net);
        assert!(ip("link show").contains("kept"));
    });
}

#[test]
fn a_persistent_tap_for_several_queues_serves_one_pair_too() {
    in_namespace(|| {
        ip("tuntap add dev many mode tap multi_queue");
        for pairs in [1, 2, 4] {
            assert_eq!(once_it_is_free(|| named("many", pairs)).tap(), "many");
        }
    });
}

#[test]
fn a_tap_that_another_card_has_is_in_use() {
    in_namespace(|| {
        for pairs in [1, 2] {
            let _first = Net::new("net0".into(), named("taken", pairs)).unwrap();
            let error = refusal(named("taken", pairs));
            assert!(matches!(error, NetError::InUse { .. }), "{error}");
            assert_eq!(error.to_string(), "the tap taken is in use by another process");
        }
    });
}

#[test]
fn what_is_no_tap_for_as_many_queues_is_refused_by_name() {
    in_namespace(|| {
        ip("tuntap add dev single mode tap");
        for error in [refusal(named("lo", 1)), refusal(named("single", 2))] {
            assert!(matches!(error, NetError::Unsuitable { .. }), "{error}");
        }
        let error = refusal(named("a/b", 1));
        assert!(matches!(error, NetError::Name(_)), "{error}");
    });
}

#[test]
fn descriptors_that_are_no_taps_are_refused_by_their_place() {
    in_namespace(|| {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let error = refusal(NetOptions { fds: vec![null()], ..NetOptions::default() });
        assert!(matches!(error, NetError::NoTap { place: 0, .. }), "{error}");
        let error = refusal(NetOptions { fds: vec![null(), null()], ..NetOptions::default() });
        assert!(matches!(error, NetError::Descriptors { fds: 2, pairs: 1 }), "{error}");
    });
}

/// IFF_TAP, IFF_NO_PI, and those that a card needs.
const TAP: u16 = 0x1002;
const MULTI_QUEUE: u16 = 0x0100;
const VNET_HEADER: u16 = 0x4000;

#[test]
fn queues_that_somebody_else_has_opened_are_used_as_they_are() {
    in_namespace(|| {
        let flags = TAP | MULTI_QUEUE | VNET_HEADER;
        let fds = vec![queue("given", flags), queue("given", flags)];
        let net =
            Net::new("net0".into(), NetOptions { fds, num_queues: 4, ..NetOptions::default() });
        let net = net.unwrap();
        assert_eq!(net.tap(), "given");
        assert!(!ip("link show up").contains("given"), "the interface is left as it is");
        let fds = vec![queue("elsewhere", TAP | VNET_HEADER)];
        in_namespace(move || {
            let options = NetOptions { fds, mtu: Some(1450), ..NetOptions::default() };
            let net = Net::new("net1".into(), options).unwrap();
            let mut mtu = [0; 2];
            net.read_config(10, &mut mtu);
            assert_eq!(u16::from_le_bytes(mtu), 1450);
        });
    });
}

#[test]
fn queues_without_headers_or_of_different_taps_are_refused() {
    in_namespace(|| {
        let options = |fds: Vec<OwnedFd>| {
            let num_queues = 2 * u16::try_from(fds.len()).unwrap();
            NetOptions { fds, num_queues, ..NetOptions::default() }
        };
        let error = refusal(options(vec![queue("bare", TAP)]));
        assert!(error.to_string().contains("no headers"), "{error}");
        let two = ["one", "other"].map(|tap| queue(tap, TAP | MULTI_QUEUE | VNET_HEADER));
        let error = refusal(options(two.into()));
        assert!(matches!(error, NetError::NoTap { place: 1, .. }), "{error}");
    });
}
