//! Checksums and large packets that one side leaves to the other.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use super::bed::{Bed, in_namespace, options};
use super::frame::{
    Checksum, Header, IP, Tcp, arp_answer, checksum_is_right, tcp, tcp_data, udp, udp_data,
};

const HANG: Duration = Duration::from_mins(1);
/// VIRTIO_NET_F_CSUM, GUEST_CSUM, GUEST_TSO4, HOST_UFO.
const CSUM: u64 = 1;
const GUEST_CSUM: u64 = 2;
const GUEST_TSO4: u64 = 1 << 7;
const HOST_UFO: u64 = 1 << 14;
const SYN: u8 = 2;
const ACK: u8 = 16;

#[test]
fn a_checksum_that_the_guest_leaves_is_made_by_the_host() {
    in_namespace(|| {
        let mut bed = Bed::new(options(1), CSUM);
        let socket = UdpSocket::bind("10.0.0.1:7000").unwrap();
        socket.set_read_timeout(Some(HANG)).unwrap();
        bed.send(0, &udp([6000, 7000], b"sum it up", Checksum::Left));
        let mut got = [0; 16];
        assert_eq!(socket.recv(&mut got).unwrap(), 9);
        assert_eq!(&got[..9], b"sum it up");
    });
}

#[test]
fn a_large_datagram_is_cut_up_by_the_host_if_at_all() {
    in_namespace(|| {
        let mut bed = Bed::new(options(1), CSUM | HOST_UFO);
        let socket = UdpSocket::bind("10.0.0.1:7000").unwrap();
        socket.set_read_timeout(Some(HANG)).unwrap();
        let data: Vec<u8> = (0..=250).cycle().take(8000).collect();
        let mut packet = udp([6000, 7000], &data, Checksum::Left);
        let left = Header::of(&packet);
        // VIRTIO_NET_HDR_GSO_UDP
        let header = Header { gso_type: 3, gso_size: 1480, hdr_len: 42, ..left };
        packet[..12].copy_from_slice(&header.bytes());
        bed.send(0, &packet);
        let mut got = [0; 9000];
        assert_eq!(socket.recv(&mut got).unwrap(), 8000);
        assert_eq!(got[..8000], data);
    });
}

/// The packets that a guest with these features gets for 10,000 bytes of TCP.
fn stream(features: u64) -> Vec<Vec<u8>> {
    let mut bed = Bed::new(options(1), features);
    bed.give(0, 30);
    let listener = TcpListener::bind("10.0.0.1:7000").unwrap();
    let ports = [6000, 7000];
    let syn = Tcp { ports, sequence: 99, acknowledged: 0, flags: SYN };
    bed.send(0, &tcp(syn, &[2, 4, 0x05, 0xB4])); // MSS 1460
    let answer = loop {
        let packet = bed
            .wait_for(0, |packet| arp_answer(packet).is_some() || tcp_data(packet, 6000).is_some());
        match arp_answer(&packet) {
            Some(answer) => bed.send(0, &answer),
            None => break packet,
        }
    };
    let (first, flags, _) = tcp_data(&answer, 6000).unwrap();
    assert_eq!(flags, SYN | ACK);
    let acknowledged = first.wrapping_add(1);
    bed.send(0, &tcp(Tcp { ports, sequence: 100, acknowledged, flags: ACK }, &[]));
    let (mut connection, _) = listener.accept().unwrap();
    connection.write_all(&[0x42; 10_000]).unwrap();
    let mut packets = Vec::new();
    let mut seen = 0;
    while seen < 10_000 {
        let packet = bed.wait_for(0, |packet| {
            tcp_data(packet, 6000).is_some_and(|(sequence, _, data)| {
                !data.is_empty() && sequence == acknowledged.wrapping_add(seen)
            })
        });
        let (_, _, data) = tcp_data(&packet, 6000).unwrap();
        assert!(data.iter().all(|byte| *byte == 0x42));
        seen += u32::try_from(data.len()).unwrap();
        packets.push(packet);
    }
    packets
}

#[test]
fn a_guest_that_takes_large_packets_gets_them_with_how_to_cut_them() {
    in_namespace(|| {
        let packets = stream(GUEST_CSUM | GUEST_TSO4);
        assert!(packets.iter().any(|packet| packet.len() > 3000), "one is large");
        for packet in packets.iter().filter(|packet| packet.len() > 12 + 1514) {
            let header = Header::of(packet);
            assert_eq!(header.gso_type & 0x7F, 1, "VIRTIO_NET_HDR_GSO_TCPV4");
            assert!((1000..=1460).contains(&header.gso_size));
            assert_eq!(header.flags & 1, 1, "VIRTIO_NET_HDR_F_NEEDS_CSUM");
            assert_eq!(usize::from(header.csum_start), 34);
            assert_eq!(header.csum_offset, 16);
        }
    });
}

#[test]
fn a_guest_that_takes_none_gets_small_ones_with_their_checksums() {
    in_namespace(|| {
        for packet in stream(0) {
            assert!(packet.len() <= 12 + 1514, "{} bytes", packet.len());
            assert_eq!(packet[..10], [0; 10]);
            assert!(checksum_is_right(&packet));
        }
    });
}

#[test]
fn a_guest_that_takes_no_checksums_gets_complete_datagrams() {
    in_namespace(|| {
        let mut bed = Bed::new(options(1), 0);
        let socket = UdpSocket::bind("10.0.0.1:7000").unwrap();
        socket.set_broadcast(true).unwrap();
        bed.give(0, 8);
        socket.send_to(b"complete", "10.0.0.255:6000").unwrap();
        let packet = bed.wait_for(0, |packet| udp_data(packet, 6000).is_some());
        assert_eq!(packet[IP] >> 4, 4);
        assert!(checksum_is_right(&packet));
    });
}
