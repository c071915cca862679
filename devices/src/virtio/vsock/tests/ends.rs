//! How connections end, each way on its own.

use std::net::Shutdown;

use super::*;

const KEY: Key = Key { host_port: 1024, guest_port: 7 };

#[test]
fn the_guest_closes_and_the_host_reads_all_before_the_end() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    bed.guest.say(KEY, Op::Data, 0, b"the last words");
    bed.guest.say(KEY, Op::Shutdown, done::BOTH, &[]);
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
    assert_eq!(read_now(&mut host), (b"the last words".to_vec(), true));
    bed.guest.say(KEY, Op::Data, 0, b"?");
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)], "it is forgotten");
}

#[test]
fn the_guest_sends_no_more_and_still_receives() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    bed.guest.say(KEY, Op::Data, 0, b"question");
    bed.guest.say(KEY, Op::Shutdown, done::SEND, &[]);
    assert_eq!(read_now(&mut host), (b"question".to_vec(), true));
    host.write_all(b"answer").unwrap();
    assert_eq!(bed.guest.hear_one().1, b"answer");
    drop(host);
    bed.guest.step();
    assert_eq!(bed.guest.hear_ops(), [(Op::Shutdown as u16, done::SEND)]);
    // Hints add up.
    bed.guest.say(KEY, Op::Shutdown, done::RECEIVE, &[]);
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
}

#[test]
fn the_host_sends_no_more_and_still_receives() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    host.write_all(b"question").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    bed.guest.step();
    let heard = bed.guest.hear_all();
    assert_eq!((heard.len(), &heard[0].1[..]), (2, &b"question"[..]));
    assert_eq!((heard[1].0.op, heard[1].0.flags), (Op::Shutdown as u16, done::SEND));
    bed.guest.say(KEY, Op::Data, 0, b"answer");
    assert_eq!(read_now(&mut host), (b"answer".to_vec(), false));
    bed.guest.say(KEY, Op::Shutdown, done::BOTH, &[]);
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
}

#[test]
fn a_host_that_has_gone_is_told_when_the_guest_writes() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    host.write_all(b"bye").unwrap();
    drop(host);
    // Before the guest has heard of the end.
    bed.guest.say(KEY, Op::Data, 0, b"are you there?");
    let heard = bed.guest.hear_all();
    assert_eq!(heard[0].1, b"bye", "what was written is still for the guest");
    let flags = heard.iter().filter(|(header, _)| header.op == Op::Shutdown as u16);
    assert_eq!(flags.fold(0, |all, (header, _)| all | header.flags), done::BOTH);
    bed.guest.say(KEY, Op::Reset, 0, &[]);
    assert_eq!(bed.guest.hear_all(), []);
}

#[test]
fn the_guest_receives_no_more_and_the_host_cannot_write() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    bed.guest.say(KEY, Op::Shutdown, done::RECEIVE, &[]);
    assert_eq!(host.write(b"?").unwrap_err().kind(), ErrorKind::BrokenPipe);
    bed.guest.say(KEY, Op::Data, 0, b"still here");
    assert_eq!(read_now(&mut host), (b"still here".to_vec(), false));
    assert_eq!(bed.guest.hear_all(), []);
}

#[test]
fn a_reset_by_the_guest_ends_both_ways_at_once() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    bed.guest.say(KEY, Op::Reset, 0, &[]);
    assert_eq!(read_now(&mut host), (vec![], true));
    assert_eq!(bed.guest.hear_all(), []);
}

/// What waits for a host that is slow is not lost by a close.
#[test]
fn a_close_waits_for_a_slow_host() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    let (mut sent, mut forwarded) = (0, 0);
    // The device tells how much the host took; what it can still be sent is the rest of its room.
    while sent - forwarded < BUF_ALLOC as usize {
        bed.guest.say(KEY, Op::Data, 0, &pattern(sent, 4096));
        sent += 4096;
        bed.guest.say(KEY, Op::CreditRequest, 0, &[]);
        forwarded = bed.guest.hear_all().last().unwrap().0.fwd_cnt as usize;
    }
    bed.guest.say(KEY, Op::Shutdown, done::BOTH, &[]);
    assert_eq!(bed.guest.hear_all(), []);
    let mut received = Vec::new();
    let ended = loop {
        let (more, ended) = read_now(&mut host);
        received.extend_from_slice(&more);
        bed.guest.step();
        if ended || received.len() >= sent {
            break ended || read_now(&mut host).1;
        }
        assert!(!more.is_empty(), "the device writes on when the host reads");
    };
    assert!(ended && received == pattern(0, sent));
    assert_eq!(bed.guest.hear_ops(), [(Op::Reset as u16, 0)]);
}

/// A pause in the middle, in which the host goes on, changes nothing.
#[test]
fn connections_survive_a_pause() {
    let mut bed = Bed::new();
    let mut host = bed.connected(KEY);
    bed.guest.runner.drain().unwrap();
    host.write_all(b"during").unwrap();
    bed.guest.receive.doorbell.notify();
    bed.guest.transmit.doorbell.notify();
    bed.guest.step();
    assert_eq!(bed.guest.hear_one().1, b"during");
    bed.guest.say(KEY, Op::Data, 0, b"after");
    assert_eq!(read_now(&mut host).0, b"after");
}
