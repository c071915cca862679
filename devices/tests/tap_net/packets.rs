//! Packets both ways between a driver and sockets of the host.

use std::net::UdpSocket;
use std::time::Duration;

use super::bed::{Bed, MULTI_QUEUE, SIZE, in_namespace, options};
use super::frame::{Checksum, udp, udp_data};

/// Longer than anything here takes: a guard against a hang.
const HANG: Duration = Duration::from_mins(1);

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("10.0.0.1:7000").unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    // What is sent to everybody needs nobody's Ethernet address.
    socket.set_broadcast(true).unwrap();
    socket
}

#[test]
fn packets_pass_both_ways_unchanged() {
    in_namespace(|| {
        let mut bed = Bed::new(options(1), 0);
        let socket = socket();
        bed.give(0, 16);
        for len in [1, 100, 1000, 1472] {
            let data: Vec<u8> = (0..=250).cycle().take(len).collect();
            bed.send(0, &udp([6000, 7000], &data, Checksum::Complete));
            let mut got = [0; 2000];
            let (received, from) = socket.recv_from(&mut got).unwrap();
            assert_eq!(got[..received], data);
            assert_eq!(from.to_string(), "10.0.0.2:6000");
            socket.send_to(&data, "10.0.0.255:6000").unwrap();
            let packet = bed.wait_for(0, |packet| udp_data(packet, 6000).is_some());
            assert_eq!(udp_data(&packet, 6000).unwrap(), data);
            assert_eq!(
                packet[..12],
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
                "nothing was negotiated"
            );
        }
        assert_eq!(bed.counter("tx_packets"), 4);
        assert!(bed.counter("rx_packets") >= 4 && bed.counter("tx_dropped") == 0);
    });
}

#[test]
fn packets_are_kept_while_the_guest_is_paused_or_has_no_buffers() {
    in_namespace(|| {
        let mut bed = Bed::new(options(1), 0);
        let socket = socket();
        bed.give(0, 4);
        for runner in &mut bed.runners {
            runner.drain().unwrap();
        }
        for number in 0..50_u8 {
            socket.send_to(&[number; 10], "10.0.0.255:6000").unwrap();
        }
        let mut next = 0;
        while next < 50 {
            bed.step();
            for packet in bed.got(0) {
                if let Some(data) = udp_data(&packet, 6000) {
                    assert_eq!(data[..10], [next; 10]);
                    next += 1;
                }
                bed.give(0, 1);
            }
        }
        assert_eq!(bed.counter("rx_dropped"), 0);
    });
}

#[test]
fn every_pair_that_is_on_takes_and_sends_packets() {
    in_namespace(|| {
        let mut bed = Bed::new(options(3), MULTI_QUEUE);
        let host = socket();
        for pair in 0..3 {
            bed.give(pair, usize::from(SIZE) / 2);
        }
        assert_eq!(bed.command(&[4, 0, 3, 0]), 0);
        bed.step();
        // The kernel answers a flow by the queue that it came in by.
        for round in 0..30_u16 {
            for pair in 0..3_u8 {
                let port = 6000 + u16::from(pair) + 3 * (round % 4);
                let data = [pair, u8::try_from(round).unwrap(), 0, 0];
                bed.send(pair.into(), &udp([port, 7000], &data, Checksum::Complete));
                let mut got = [0; 16];
                assert_eq!(host.recv(&mut got).unwrap(), 4);
                assert_eq!(got[..4], data);
            }
        }
        let counted = bed.counter("tx_packets");
        assert_eq!(counted, 90);
        let mut seen = [0; 3];
        for port in 5000..5200_u16 {
            let sender = UdpSocket::bind(("10.0.0.1", port)).unwrap();
            sender.set_broadcast(true).unwrap();
            sender.send_to(&port.to_be_bytes(), "10.0.0.255:6000").unwrap();
            bed.step();
            for (pair, seen) in seen.iter_mut().enumerate() {
                let got = bed.got(pair);
                bed.give(pair, got.len());
                *seen += got.iter().filter(|packet| udp_data(packet, 6000).is_some()).count();
            }
        }
        assert_eq!(seen.iter().sum::<usize>(), 200, "none was lost or doubled: {seen:?}");
        assert!(seen.iter().all(|seen| *seen > 0), "every pair has got some: {seen:?}");
    });
}

#[test]
fn a_pair_that_is_off_gets_nothing_and_what_it_still_sends_leaves() {
    in_namespace(|| {
        let mut bed = Bed::new(options(2), MULTI_QUEUE);
        let socket = socket();
        bed.give(0, 32);
        bed.give(1, 32);
        for pairs in [2, 1, 2, 1] {
            assert_eq!(bed.command(&[4, 0, pairs, 0]), 0);
            bed.step();
        }
        bed.send(1, &udp([6001, 7000], b"late", Checksum::Complete));
        let mut got = [0; 16];
        assert_eq!(socket.recv(&mut got).unwrap(), 4);
        assert_eq!(&got[..4], b"late");
        bed.got(1);
        for port in 5000..5050_u16 {
            let sender = UdpSocket::bind(("10.0.0.1", port)).unwrap();
            sender.set_broadcast(true).unwrap();
            sender.send_to(b"all to the first", "10.0.0.255:6000").unwrap();
            bed.wait_for(0, |packet| udp_data(packet, 6000).is_some());
            assert!(bed.got(1).is_empty());
        }
    });
}

#[test]
fn a_tap_that_goes_away_takes_the_link_down_and_nothing_spins() {
    use devices::virtio::VirtioDevice;
    in_namespace(|| {
        let mut bed = Bed::new(options(1), 0);
        bed.give(0, 4);
        let mut status = [0; 2];
        bed.net.read_config(6, &mut status);
        assert_eq!(status, [1, 0]);
        let removed =
            std::process::Command::new("ip").args(["link", "del", bed.net.tap()]).status();
        assert!(removed.unwrap().success());
        bed.runners[0].sleep().unwrap();
        bed.net.read_config(6, &mut status);
        assert_eq!(status, [0, 0]);
        assert_eq!(bed.drivers[0].interrupts.config(), 1);
        bed.send(0, &udp([6000, 7000], b"nobody", Checksum::Complete));
        assert_eq!(bed.counter("tx_dropped"), 1);
        assert_eq!(bed.drivers[0].interrupts.config(), 1, "that was told once");
    });
}

#[test]
fn packets_that_the_kernel_refuses_are_dropped_and_counted() {
    in_namespace(|| {
        let mut bed = Bed::new(options(1), 0);
        let socket = socket();
        let mut wrong = udp([6000, 7000], b"wrong", Checksum::Left);
        wrong[6..8].copy_from_slice(&9000_u16.to_le_bytes()); // a checksum far behind the packet
        bed.send(0, &wrong);
        bed.send(0, &[0; 26]);
        let mut gso = udp([6000, 7000], b"gso", Checksum::Complete);
        gso[1] = 0x7F;
        bed.send(0, &gso);
        assert!(bed.counter("tx_dropped") >= 2);
        bed.send(0, &udp([6000, 7000], b"right", Checksum::Complete));
        let mut got = [0; 16];
        assert_eq!(socket.recv(&mut got).unwrap(), 5);
        assert_eq!(&got[..5], b"right");
    });
}
