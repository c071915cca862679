//! The control queue, and pairs that are on and off.

use std::sync::atomic::Ordering;

use super::super::features::{CTRL_VQ, MQ};
use super::{Bed, PLAIN};
use crate::virtio::testing::{Buffers, Runner};
use crate::virtio::{Features, WorkerError};

const OK: u8 = 0;
const ERR: u8 = 1;

/// Gives a command to the control queue, which is the last; the answer.
fn command(bed: &mut Bed, runners: &mut [Runner], parts: &[&[u8]]) -> u8 {
    let control = bed.drivers.last_mut().unwrap();
    let sent = control.send(&Buffers { readable: parts.to_vec(), writable: vec![1] });
    runners.last_mut().unwrap().step().unwrap();
    let control = bed.drivers.last_mut().unwrap();
    assert_eq!(control.used(), Some((sent.head, 1)));
    control.read(sent.writable[0].0, 1)[0]
}

#[test]
fn pairs_are_turned_on_and_off() {
    let mut bed = Bed::new(3);
    let mut runners = bed.run();
    assert_eq!(runners.len(), 4);
    for pairs in [3, 1, 2, 2] {
        let answer = command(&mut bed, &mut runners, &[&[4, 0], &[pairs, 0]]);
        assert_eq!(answer, OK);
        assert_eq!(bed.double.active.load(Ordering::SeqCst), u16::from(pairs));
    }
}

#[test]
fn a_pair_takes_packets_from_when_it_is_on() {
    let mut bed = Bed::new(2);
    let mut runners = bed.run();
    let sent = bed.drivers[2].send(&Buffers { readable: vec![], writable: vec![100] });
    bed.double.send(1, &[9; 40]);
    runners[1].step().unwrap();
    assert_eq!(bed.drivers[2].used(), None);
    assert_eq!(command(&mut bed, &mut runners, &[&[4, 0, 2, 0]]), OK);
    runners[1].sleep().unwrap();
    assert_eq!(bed.drivers[2].used(), Some((sent.head, 40)));
}

#[test]
fn numbers_of_pairs_that_cannot_be_are_refused() {
    let mut bed = Bed::new(2);
    let mut runners = bed.run();
    for pairs in [[0, 0], [3, 0], [0, 0x80], [0xFF, 0xFF]] {
        assert_eq!(command(&mut bed, &mut runners, &[&[4, 0], &pairs]), ERR);
        assert_eq!(bed.double.active.load(Ordering::SeqCst), 1);
    }
    assert_eq!(bed.counter("malformed"), 4);
}

#[test]
fn unknown_commands_are_refused_however_long() {
    let mut bed = Bed::new(2);
    let mut runners = bed.run();
    let long = [0; 5000];
    let cases: [&[&[u8]]; 5] =
        [&[&[0, 0], &[1]], &[&[4, 1], &[1, 0]], &[&[4], &[9]], &[&[1, 1], &long], &[&[4, 0], &[1]]];
    for parts in cases {
        assert_eq!(command(&mut bed, &mut runners, parts), ERR, "{parts:?}");
    }
}

#[test]
fn commands_without_command_or_answer_stop_the_card() {
    for buffers in [
        Buffers { readable: vec![&[4, 0, 1, 0]], writable: vec![] },
        Buffers { readable: vec![&[4]], writable: vec![1] },
        Buffers { readable: vec![], writable: vec![1] },
    ] {
        let mut bed = Bed::new(2);
        let mut runners = bed.run();
        bed.drivers[4].send(&buffers);
        let error = runners[2].step().unwrap_err();
        assert!(matches!(error, WorkerError::Malformed(_)), "{error}");
        assert_eq!(bed.counter("malformed"), 1);
    }
}

#[test]
fn without_the_feature_one_pair_is_used_and_the_control_queue_is_the_third() {
    let mut bed = Bed::new(2);
    bed.features = Features(CTRL_VQ);
    let mut runners = bed.run();
    assert_eq!(runners.len(), 2);
    let control = &mut bed.drivers[2];
    let sent = control.send(&Buffers { readable: vec![&[4, 0, 2, 0]], writable: vec![1] });
    runners[1].step().unwrap();
    assert_eq!(control.used(), Some((sent.head, 1)));
    assert_eq!(control.read(sent.writable[0].0, 1), [ERR]);
    bed.features = Features(MQ);
    assert_eq!(bed.run().len(), 1);
}

#[test]
fn packets_of_each_pair_leave_by_its_queue() {
    let mut bed = Bed::new(2);
    let mut runners = bed.run();
    command(&mut bed, &mut runners, &[&[4, 0, 2, 0]]);
    for (pair, runner) in runners.iter_mut().take(2).enumerate() {
        let packet = [&PLAIN[..], &[0x40; 60]].concat();
        let driver = &mut bed.drivers[2 * pair + 1];
        driver.send(&Buffers { readable: vec![&packet], writable: vec![] });
        runner.step().unwrap();
        assert_eq!(bed.double.receive(pair), Some(packet));
    }
}
