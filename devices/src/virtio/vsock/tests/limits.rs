//! What neither side may exceed, and packets that break rules.

use super::super::worker::STRAYS;
use super::*;

const KEY: Key = Key { host_port: 1024, guest_port: 7 };

#[test]
fn the_host_is_read_only_as_far_as_the_guest_grants() {
    let mut bed = Bed::new();
    let listener = bed.listen(KEY.host_port);
    let granted = 10_000;
    bed.guest.send(&Header { buf_alloc: granted, ..header(KEY, Op::Request, 0, 0) }, &[]);
    bed.guest.hear_one();
    let mut host = listener.accept().unwrap().0;
    let written = flood(&mut host);
    assert!(written > 20_000);
    let heard = bed.guest.hear_all();
    let data: Vec<u8> = heard.iter().flat_map(|(_, payload)| payload.clone()).collect();
    assert!(data == pattern(0, granted as usize));
    assert_eq!(heard.last().unwrap().0.op, Op::CreditRequest as u16);
    assert_eq!(bed.guest.hear_all(), [], "it asks once");
    let more = Header { buf_alloc: granted, fwd_cnt: 10, ..header(KEY, Op::CreditUpdate, 0, 0) };
    bed.guest.send(&more, &[]);
    let heard = bed.guest.hear_all();
    assert_eq!(heard[0].1, pattern(10_000, 10));
    // Numbers that cannot be: no credit, and nothing else.
    let absurd = Header { fwd_cnt: 0xFFFF_0000, ..more };
    bed.guest.send(&absurd, &[]);
    assert_eq!(bed.guest.hear_all(), []);
}

#[test]
fn a_guest_that_sends_more_than_it_was_granted_is_cut_off() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    let mut other = bed.connected(key(2000, 8));
    let page = [0; 4096];
    // More than the socket and the device hold.
    for _ in 0..512 {
        if bed.counter("violations") == 0 {
            bed.guest.say(KEY, Op::Data, 0, &page);
        }
    }
    assert_eq!(bed.counter("violations"), 1);
    let heard = bed.guest.hear_all();
    assert!(heard.iter().any(|(header, _)| header.op == Op::Reset as u16));
    assert!(read_now(&mut host).1, "its host sees the end");
    bed.guest.say(key(2000, 8), Op::Data, 0, b"fine");
    assert_eq!(read_now(&mut other), (b"fine".to_vec(), false), "others see nothing of it");
}

#[test]
fn credit_comes_back_when_half_of_it_is_used() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    let half = BUF_ALLOC as usize / 2;
    bed.guest.say(KEY, Op::Data, 0, &vec![0; half - 1]);
    assert_eq!(bed.guest.hear_all(), []);
    bed.guest.say(KEY, Op::Data, 0, &[0]);
    let (update, _) = bed.guest.hear_one();
    assert_eq!((update.op, update.fwd_cnt), (Op::CreditUpdate as u16, BUF_ALLOC / 2));
    assert_eq!(read_now(&mut host).0.len(), half);
}

#[test]
fn a_request_for_credit_is_answered_at_once() {
    let mut bed = Bed::new();
    let _host = bed.connected(KEY);
    bed.guest.say(KEY, Op::Data, 0, &[0; 5]);
    bed.guest.say(KEY, Op::CreditRequest, 0, &[]);
    let (update, _) = bed.guest.hear_one();
    assert_eq!(update.op, Op::CreditUpdate as u16);
    assert_eq!((update.buf_alloc, update.fwd_cnt), (BUF_ALLOC, 5));
}

#[test]
fn what_belongs_nowhere_is_reset_and_resets_are_not() {
    let mut bed = Bed::new();
    for op in [Op::Response, Op::Data, Op::Shutdown, Op::CreditUpdate, Op::CreditRequest] {
        bed.guest.say(KEY, op, 0, &[]);
        let (reset, _) = bed.guest.hear_one();
        assert_eq!((reset.op, reset.key_of_host()), (Op::Reset as u16, KEY));
        assert_eq!([reset.src_cid, reset.dst_cid], [HOST_CID, CID.into()]);
    }
    bed.guest.say(KEY, Op::Reset, 0, &[]);
    assert_eq!(bed.guest.hear_all(), []);
    assert_eq!(bed.counter("stray_packets"), 6);
}

#[test]
fn packets_of_unknown_kinds_and_addresses() {
    let mut bed = Bed::new();
    let good = header(KEY, Op::Request, 0, 0);
    for unknown in [
        Header { kind: 2, ..good },
        Header { kind: 0, ..good },
        Header { dst_cid: 3, ..good },
        Header { op: 0, ..good },
        Header { op: 8, ..good },
    ] {
        bed.guest.send(&unknown, &[]);
        let (reset, _) = bed.guest.hear_one();
        let expected = (Op::Reset as u16, unknown.kind, unknown.dst_cid);
        assert_eq!((reset.op, reset.kind, reset.src_cid), expected);
    }
    bed.guest.send(&Header { src_cid: 43, ..good }, &[]);
    assert_eq!(bed.guest.hear_all(), [], "who is not the guest is not answered");
}

#[test]
fn operations_out_of_place_break_the_connection_off() {
    let out_of_place: [(u16, u32); 4] =
        [(Op::Request as u16, 0), (Op::Response as u16, 0), (0, 0), (99, 0)];
    for (number, (op, flags)) in (0..).zip(out_of_place) {
        let mut bed = Bed::new();
        let mut host = bed.connected(KEY);
        bed.guest.send(&Header { op, flags, ..header(KEY, Op::Data, 0, 0) }, &[]);
        assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)], "{number}");
        assert!(read_now(&mut host).1);
        assert_eq!(bed.counter("violations"), 1);
    }
    let mut bed = Bed::new();
    let _host = bed.connected(KEY);
    bed.guest.say(KEY, Op::Shutdown, done::SEND, &[]);
    bed.guest.say(KEY, Op::Data, 0, b"more");
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
    let mut bed = Bed::new();
    let _client = bed.client(22);
    bed.guest.step();
    let key = bed.guest.hear_one().0.key_of_host();
    bed.guest.say(key, Op::Data, 0, b"not yet");
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
}

#[test]
fn packets_of_the_wrong_shape_break_the_device() {
    let bytes = |len| header(KEY, Op::Data, 0, len).to_bytes();
    let (plain, longer, long) = (bytes(0), bytes(5), bytes(65_537));
    let much = vec![0; 65_537];
    let wrong: [Buffers<'_>; 5] = [
        Buffers { readable: vec![&plain[..43]], writable: vec![] },
        Buffers { readable: vec![&longer, b"four"], writable: vec![] },
        Buffers { readable: vec![&long, &much], writable: vec![] },
        Buffers { readable: vec![&plain], writable: vec![1] },
        Buffers { readable: vec![], writable: vec![100] },
    ];
    for packet in &wrong {
        let mut bed = Bed::new();
        bed.guest.transmit.send(packet);
        let error = bed.guest.runner.step().unwrap_err();
        assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
    }
    let header_only = u32::try_from(HEADER_LEN).unwrap();
    for buffer in [
        Buffers { readable: vec![], writable: vec![header_only] },
        Buffers { readable: vec![b"?"], writable: vec![100] },
    ] {
        let mut bed = Bed::new();
        bed.guest.say(KEY, Op::Data, 0, &[]);
        bed.guest.receive.send(&buffer);
        let error = bed.guest.runner.step().unwrap_err();
        assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
    }
}

/// The longest payload, in a chain of many small buffers.
#[test]
fn a_packet_in_many_pieces() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    let data = pattern(0, 1000);
    let bytes = header(KEY, Op::Data, 0, data.len()).to_bytes();
    let readable = bytes.chunks(5).chain(data.chunks(30)).collect();
    bed.guest.transmit.send(&Buffers { readable, writable: vec![] });
    bed.guest.step();
    assert_eq!(read_now(&mut host).0, data);
}

/// A guest that asks without listening makes the device hold a bounded number of answers.
#[test]
fn transmission_stops_while_answers_wait_for_buffers() {
    let mut bed = Bed::new();
    let packet = header(KEY, Op::Data, 0, 0).to_bytes();
    let mut taken = 0;
    let offer = |bed: &mut Bed| {
        bed.guest.transmit.send(&Buffers { readable: vec![&packet], writable: vec![] });
        bed.guest.step();
        bed.guest.transmit.used().is_some()
    };
    while taken <= STRAYS && offer(&mut bed) {
        taken += 1;
    }
    assert_eq!(taken, STRAYS);
    bed.guest.post(1, 4096);
    assert!(bed.guest.transmit.used().is_some(), "one answer heard, one packet taken");
    // Those that waited are answered as well.
    assert_eq!(bed.guest.hear_all().len(), STRAYS + 1);
    assert!(offer(&mut bed));
}
