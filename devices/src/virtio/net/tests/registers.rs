//! What the guest sees before it uses a queue, and what options are refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::features::{CTRL_VQ, GUEST_CSUM, GUEST_TSO4, MQ};
use super::double::Double;
use super::{Bed, MacAddress, Net, NetOptions, Offloads};
use crate::virtio::net::NetError;
use crate::virtio::testing::activation;
use crate::virtio::{ActivationError, Features, VirtioDevice};

#[test]
fn the_configuration_has_address_status_pairs_and_mtu() {
    let bed = Bed::new(3);
    let mut config = [0xEE; 16];
    bed.net.read_config(0, &mut config);
    assert_eq!(config, [2, 0, 0, 0, 0, 1, 1, 0, 3, 0, 0x78, 0x05, 0, 0, 0, 0]);
    for (offset, expected) in [(6, [1, 0]), (11, [5, 0]), (12, [0, 0]), (u64::MAX, [0, 0])] {
        let mut part = [0xEE; 2];
        bed.net.read_config(offset, &mut part);
        assert_eq!(part, expected, "at {offset}");
    }
}

#[test]
fn several_pairs_come_with_a_control_queue() {
    assert_eq!(Bed::new(1).net.queue_sizes(), [8, 8]);
    let bed = Bed::new(2);
    assert_eq!(bed.net.queue_sizes(), [8; 5]);
    assert!(Features(bed.net.features()).has(MQ | CTRL_VQ));
}

#[test]
fn only_what_the_tap_can_is_offered() {
    let double = Arc::new(Double::new(1, Offloads::CHECKSUM));
    let net = Net::with_backend("net0".into(), &NetOptions::default(), double).unwrap();
    let features = Features(net.features());
    assert!(features.has(GUEST_CSUM) && !features.has(GUEST_TSO4));
}

#[test]
fn what_was_negotiated_is_set_before_a_packet_comes() {
    let mut bed = Bed::new(2);
    bed.features = Features(GUEST_CSUM | GUEST_TSO4 | MQ | CTRL_VQ);
    bed.double.send(0, &[7; 100]);
    let mut runners = bed.run();
    let set = Offloads::CHECKSUM | Offloads::TSO4;
    assert_eq!(bed.double.offloads.load(Ordering::SeqCst), set.bits());
    assert_eq!(bed.double.active.load(Ordering::SeqCst), 1, "until the driver says more");
    bed.drivers[0].send(&crate::virtio::testing::Buffers { readable: vec![], writable: vec![200] });
    runners[0].step().unwrap();
    assert_eq!(bed.drivers[0].used(), None, "a packet from before is none for this driver");
    assert_eq!(bed.counter("rx_dropped"), 1);
    drop(runners);
    bed.net.reset();
    assert_eq!(bed.double.offloads.load(Ordering::SeqCst), 0);
}

#[test]
fn without_its_first_pair_a_card_does_not_work() {
    let bed = Bed::new(1);
    for missing in [0, 1] {
        let mut activation = activation(&bed.drivers, bed.features);
        activation.take_queue(missing);
        match bed.net.activate(activation) {
            Err(ActivationError::MissingQueue(queue)) => assert_eq!(queue, missing),
            _ => panic!("queue {missing} is missing"),
        }
    }
}

#[test]
fn options_that_make_no_card_are_refused_with_the_reason() {
    let default = NetOptions::default;
    let group = MacAddress([1, 0, 0, 0, 0, 0]);
    let cases = [
        (NetOptions { num_queues: 3, ..default() }, "even number of queues"),
        (NetOptions { num_queues: 0, ..default() }, "even number of queues"),
        (NetOptions { num_queues: 514, ..default() }, "from 2 to 512"),
        (NetOptions { queue_size: 100, ..default() }, "power of two up to 1024, not 100"),
        (NetOptions { queue_size: 2048, ..default() }, "power of two up to 1024"),
        (NetOptions { mtu: Some(67), ..default() }, "the least is 68"),
        (NetOptions { mac: Some(group), ..default() }, "01:00:00:00:00:00"),
        (NetOptions { host_mac: Some(group), ..default() }, "single station"),
    ];
    for (options, said) in cases {
        let double = Arc::new(Double::new(1, Offloads::ALL));
        let error = Net::with_backend("net0".into(), &options, double).err();
        let error = error.map(|error: NetError| error.to_string()).unwrap_or_default();
        assert!(error.contains(said), "{error:?} should say {said:?}");
    }
}

#[test]
fn each_card_without_an_address_gets_one_of_its_own() {
    let addresses = [(); 2].map(|()| {
        let double = Arc::new(Double::new(1, Offloads::ALL));
        Net::with_backend("net0".into(), &NetOptions::default(), double).unwrap().mac()
    });
    assert_ne!(addresses[0], addresses[1]);
    assert!(addresses.iter().all(|address| address.is_station() && address.0[0] & 2 != 0));
}
