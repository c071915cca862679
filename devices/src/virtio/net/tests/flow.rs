//! Packets both ways, and what holds them up.

use super::super::features::GUEST_CSUM;
use super::{Bed, PLAIN};
use crate::virtio::testing::Buffers;
use crate::virtio::{Features, Malformed, VirtioDevice, WorkerError};

/// A packet with its header; `number` is in all of it.
fn packet(number: u8, len: usize) -> Vec<u8> {
    [PLAIN.to_vec(), vec![number; len]].concat()
}

fn room(sizes: &[u32]) -> Buffers<'static> {
    Buffers { readable: vec![], writable: sizes.to_vec() }
}

#[test]
fn a_packet_of_the_guest_leaves_as_it_was_however_it_is_scattered() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    let all = packet(0x5A, 300);
    for pieces in [vec![312], vec![12, 300], vec![1, 10, 2, 299], vec![5, 7, 0, 300]] {
        let mut rest = &all[..];
        let mut readable = Vec::new();
        for len in pieces {
            let (piece, behind) = rest.split_at(len);
            readable.push(piece);
            rest = behind;
        }
        let sent = bed.drivers[1].send(&Buffers { readable, writable: vec![] });
        runners[0].step().unwrap();
        assert_eq!(bed.double.receive(0).as_ref(), Some(&all));
        assert_eq!(bed.drivers[1].used(), Some((sent.head, 0)));
    }
    assert_eq!([bed.counter("tx_packets"), bed.counter("tx_bytes")], [4, 1200]);
}

#[test]
fn a_packet_for_the_guest_comes_as_it_was_however_its_buffer_is_scattered() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    for sizes in [&[400][..], &[12, 400], &[1, 10, 2, 299], &[6, 6, 300]] {
        let sent = bed.drivers[0].send(&room(sizes));
        bed.double.send(0, &packet(7, 300));
        runners[0].step().unwrap();
        assert_eq!(bed.drivers[0].used(), Some((sent.head, 312)));
        let parts = sent.writable.iter().map(|(gpa, len)| bed.drivers[0].read(*gpa, *len));
        let got: Vec<u8> = parts.collect::<Vec<_>>().concat();
        assert_eq!(got[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], "one buffer, in the header");
        assert_eq!(got[12..312], [7; 300]);
    }
    assert_eq!([bed.counter("rx_packets"), bed.counter("rx_bytes")], [4, 1200]);
}

#[test]
fn a_driver_that_takes_no_checksums_is_told_of_none() {
    for (features, flags) in [(0, 0), (GUEST_CSUM, 2)] {
        let mut bed = Bed::new(1);
        bed.features = Features(features);
        let mut runners = bed.run();
        let sent = bed.drivers[0].send(&room(&[100]));
        let mut checked = packet(1, 50);
        checked[0] = 2; // VIRTIO_NET_HDR_F_DATA_VALID
        bed.double.send(0, &checked);
        runners[0].step().unwrap();
        assert_eq!(bed.drivers[0].read(sent.writable[0].0, 1), [flags]);
    }
}

#[test]
fn packets_wait_in_the_tap_until_the_guest_has_buffers() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    for number in 0..20 {
        bed.double.send(0, &packet(number, 60));
    }
    // Without a buffer nothing is read, and nothing is listened for: it would not end.
    runners[0].step().unwrap();
    for number in 0..20 {
        let sent = bed.drivers[0].send(&room(&[100]));
        runners[0].step().unwrap();
        assert_eq!(bed.drivers[0].used(), Some((sent.head, 72)));
        assert_eq!(bed.drivers[0].read(sent.writable[0].0, 72)[12..], [number; 60]);
    }
    assert_eq!(bed.counter("rx_dropped"), 0);
}

#[test]
fn packets_wait_in_the_ring_until_the_tap_has_room() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    let filling = bed.double.fill(0);
    assert!(filling > 0);
    let mut heads = Vec::new();
    for number in 0..4 {
        let data = packet(number, 500);
        let sent = bed.drivers[1].send(&Buffers { readable: vec![&data], writable: vec![] });
        heads.push(sent.head);
        runners[0].step().unwrap();
        assert_eq!(bed.drivers[1].used(), None, "it is still in the ring");
    }
    for _ in 0..filling {
        assert!(bed.double.receive(0).is_some());
    }
    runners[0].sleep().unwrap();
    for (number, head) in (0..).zip(heads) {
        assert_eq!(bed.double.receive(0), Some(packet(number, 500)));
        assert_eq!(bed.drivers[1].used(), Some((head, 0)));
    }
    assert_eq!(bed.counter("tx_dropped"), 0);
}

#[test]
fn while_the_tap_is_full_packets_still_come() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    bed.double.fill(0);
    let data = packet(1, 10);
    bed.drivers[1].send(&Buffers { readable: vec![&data], writable: vec![] });
    runners[0].step().unwrap();
    let sent = bed.drivers[0].send(&room(&[100]));
    bed.double.send(0, &packet(2, 10));
    runners[0].sleep().unwrap();
    assert_eq!(bed.drivers[0].used(), Some((sent.head, 22)));
    assert_eq!(bed.drivers[1].used(), None);
}

#[test]
fn a_pause_puts_the_buffer_at_hand_back_and_loses_no_packet() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    let sent = bed.drivers[0].send(&room(&[100]));
    runners[0].step().unwrap();
    runners[0].drain().unwrap();
    bed.double.send(0, &packet(3, 20));
    // What the host sends meanwhile stays with the host.
    assert_eq!(bed.drivers[0].used(), None);
    runners[0].step().unwrap();
    assert_eq!(bed.drivers[0].used(), Some((sent.head, 32)));
    assert_eq!(bed.drivers[0].used(), None, "the buffer was not used twice");
}

#[test]
fn more_packets_than_one_call_takes_are_all_taken() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    let mut got = 0;
    for round in 0..40 {
        for _ in 0..8 {
            bed.drivers[0].send(&room(&[64]));
            bed.double.send(0, &packet(round, 30));
        }
        runners[0].step().unwrap();
        while bed.drivers[0].used().is_some() {
            got += 1;
        }
    }
    assert_eq!(got, 320);
    assert!(bed.drivers[0].interrupts.queues() <= 320, "no more interrupts than packets");
}

#[test]
fn a_packet_that_does_not_fit_is_dropped_and_its_buffer_kept() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    let sent = bed.drivers[0].send(&room(&[40, 60]));
    bed.double.send(0, &packet(1, 89));
    bed.double.send(0, &PLAIN);
    runners[0].step().unwrap();
    assert_eq!(bed.drivers[0].used(), None);
    assert_eq!(bed.counter("rx_dropped"), 2, "one too long, one without content");
    bed.double.send(0, &packet(2, 88));
    runners[0].step().unwrap();
    assert_eq!(bed.drivers[0].used(), Some((sent.head, 100)));
}

#[test]
fn buffers_without_room_for_a_header_stop_the_card() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    bed.drivers[0].send(&room(&[5, 6]));
    let error = runners[0].step().unwrap_err();
    assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
    assert_eq!(bed.counter("malformed"), 1);
}

#[test]
fn packets_shorter_than_a_header_stop_the_card() {
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    bed.drivers[1].send(&Buffers { readable: vec![&[0; 11]], writable: vec![100] });
    let error = runners[0].step().unwrap_err();
    assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
    assert_eq!(bed.counter("malformed"), 1);
    assert_eq!(bed.double.receive(0), None);
}

#[test]
fn the_driver_is_asked_not_to_ring_while_the_card_looks_anyway() {
    let no_notify = |bed: &Bed, queue: usize| {
        let flags = bed.drivers[queue].read(bed.drivers[queue].used_ring(), 2);
        flags[0] & 1 != 0
    };
    let mut bed = Bed::new(1);
    let mut runners = bed.run();
    assert!(!no_notify(&bed, 0) && !no_notify(&bed, 1), "it waits for both rings");
    bed.drivers[0].send(&room(&[100]));
    runners[0].step().unwrap();
    assert!(no_notify(&bed, 0), "it has a buffer, and waits for packets");
    bed.double.send(0, &packet(1, 1));
    runners[0].step().unwrap();
    assert!(!no_notify(&bed, 0), "it waits for a buffer");
    assert_eq!(bed.net.name(), "net0");
}
