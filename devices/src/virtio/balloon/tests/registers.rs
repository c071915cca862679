//! The configuration, the target, and which queues there are.

use std::sync::Arc;

use super::super::device::{DEFLATE_ON_OOM, REPORTING};
use super::{Bed, Host};
use crate::virtio::balloon::{Balloon, BalloonOptions, Offered};
use crate::virtio::testing::{Buffers, Driver, Runner, activation};
use crate::virtio::{ActivationError, Features, VirtioDevice};

fn config(balloon: &Balloon) -> [u32; 2] {
    let mut bytes = [0; 8];
    balloon.read_config(0, &mut bytes);
    let (words, _) = bytes.as_chunks();
    [words[0], words[1]].map(u32::from_le_bytes)
}

#[test]
fn the_target_and_what_the_driver_says_are_in_the_configuration() {
    let balloon = Bed::new().balloon;
    assert_eq!(config(&balloon), [4096, 0]);
    balloon.set_target(1 << 20).unwrap();
    balloon.write_config(4, &0x1234_5678_u32.to_le_bytes());
    assert_eq!(config(&balloon), [256, 0x1234_5678]);
    assert_eq!(balloon.actual(), 0x1234_5678 << 12);
    assert_eq!(balloon.target(), 1 << 20);
    balloon.reset();
    assert_eq!(config(&balloon), [256, 0]);
}

#[test]
fn only_the_driver_s_number_can_be_written_also_in_pieces() {
    let balloon = Bed::new().balloon;
    balloon.write_config(0, &[0xFF; 5]);
    assert_eq!(config(&balloon), [4096, 0xFF]);
    balloon.write_config(6, &[0xAA; 40]);
    assert_eq!(config(&balloon), [4096, 0xAAAA_00FF]);
    for offset in [8, u64::MAX, u64::MAX - 3] {
        balloon.write_config(offset, &[0x11; 8]);
        let mut beyond = [0xEE; 3];
        balloon.read_config(offset, &mut beyond);
        assert_eq!(beyond, [0; 3]);
    }
    assert_eq!(config(&balloon), [4096, 0xAAAA_00FF]);
}

#[test]
fn sizes_that_no_balloon_can_have_are_refused() {
    let balloon = Bed::new().balloon;
    for size in [1, 4095, 4097, 1 << 44, u64::MAX] {
        let error = balloon.set_target(size).unwrap_err();
        assert!(error.to_string().contains("multiple of 4096"), "{error}");
        assert_eq!(balloon.target(), 16 << 20);
        let options = BalloonOptions { size, ..BalloonOptions::default() };
        assert!(Balloon::new("b".into(), options, Arc::new(Host::default())).is_err());
    }
    balloon.set_target((1 << 44) - 4096).unwrap();
    assert_eq!(config(&balloon)[0], u32::MAX);
}

#[test]
fn features_and_queues_are_what_was_asked_for() {
    let make = |deflate_on_oom, free_page_reporting| {
        let options = BalloonOptions { size: 0, deflate_on_oom, free_page_reporting };
        Balloon::new("b".into(), options, Arc::new(Host::default())).unwrap()
    };
    let shown = |balloon: Balloon| (balloon.features(), balloon.queue_sizes().len());
    assert_eq!(shown(make(Offered::No, Offered::No)), (0, 2));
    assert_eq!(shown(make(Offered::Yes, Offered::No)), (DEFLATE_ON_OOM, 2));
    assert_eq!(shown(make(Offered::No, Offered::Yes)), (REPORTING, 5));
}

#[test]
fn reports_come_by_queue_4_or_as_linux_counts_by_queue_2() {
    for used in [4, 2] {
        let mut bed = Bed::new();
        let features = Features(REPORTING);
        let mut given = activation(&bed.drivers, features);
        given.queues.retain(|queue| queue.index() < 2 || queue.index() == used);
        let mut runner = Runner::start(bed.balloon.activate(given).unwrap().remove(0)).unwrap();
        bed.drivers[usize::from(used)].send(&Buffers { readable: vec![], writable: vec![4096] });
        runner.step().unwrap();
        assert_eq!(bed.host.taken().len(), 1);
    }
}

#[test]
fn queues_that_a_balloon_needs_are_asked_for() {
    for (missing, features) in [(0, 0), (1, 0), (4, REPORTING)] {
        let bed = Bed::new();
        let drivers: &[Driver] = &bed.drivers;
        let mut given = activation(drivers, Features(features));
        given.queues.retain(|queue| queue.index() < 2 && queue.index() != missing);
        match bed.balloon.activate(given) {
            Err(ActivationError::MissingQueue(queue)) => assert_eq!(queue, missing),
            _ => panic!("queue {missing} is missing"),
        }
    }
}
