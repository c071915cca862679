//! The source is a file or a pipe whose bytes are known.

use std::fs::{File, OpenOptions};
use std::io::{PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use proptest::prelude::*;

use super::worker::REQUEST_LIMIT;
use super::{Rng, *};
use crate::virtio::testing::{Buffers, Driver, Runner, activation};
use crate::virtio::{Features, Malformed, WorkerError};

struct Bed {
    rng: Rng,
    driver: Driver,
    runner: Runner,
}

impl Bed {
    fn on(source: &Path) -> Self {
        let rng = Rng::open("rng0", source).unwrap();
        let drivers = Driver::queues(1, 64);
        let mut workers = rng.activate(activation(&drivers, Features::default())).unwrap();
        let runner = Runner::start(workers.remove(0)).unwrap();
        Self { rng, driver: drivers.into_iter().next().unwrap(), runner }
    }

    /// What a request of these buffers was answered with, if it was.
    fn ask(&mut self, writable: &[u32]) -> Option<Vec<u8>> {
        let sent = self.driver.send(&Buffers { readable: vec![], writable: writable.to_vec() });
        self.runner.step().unwrap();
        let (head, len) = self.driver.used()?;
        assert_eq!(head, sent.head);
        Some(self.gather(&sent.writable, len))
    }

    fn gather(&self, buffers: &[(vm_memory::GuestAddress, u32)], mut len: u32) -> Vec<u8> {
        let mut data = Vec::new();
        for (gpa, room) in buffers {
            let part = len.min(*room);
            data.extend(self.driver.read(*gpa, part));
            len -= part;
        }
        assert_eq!(len, 0, "more was written than there was room for");
        data
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

fn file_of(data: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), data).unwrap();
    file
}

/// A pipe that can be opened by a path, and its writing end.
fn pipe() -> (Bed, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", reader.as_fd().as_raw_fd());
    (Bed::on(path.as_ref()), writer)
}

#[test]
fn the_hosts_generator_fills_a_request_whole() {
    let mut bed = Bed::on(Rng::DEFAULT_SOURCE.as_ref());
    let data = bed.ask(&[100, 28]).unwrap();
    assert_eq!(data.len(), 128);
    assert!(data.iter().any(|byte| *byte != 0));
    assert_eq!(bed.driver.interrupts.queues(), 1);
    assert_eq!(bed.rng.counters(), [("requests", 1), ("bytes", 128), ("source_waits", 0)]);
}

#[test]
fn of_a_large_request_only_the_beginning_is_filled() {
    let mut bed = Bed::on("/dev/zero".as_ref());
    let data = bed.ask(&[REQUEST_LIMIT - 1, 4096]).unwrap();
    assert_eq!(data.len(), REQUEST_LIMIT as usize);
}

#[test]
fn a_request_waits_for_its_source_and_gets_what_there_is() {
    let (mut bed, mut writer) = pipe();
    assert_eq!(bed.ask(&[16]), None);
    bed.driver.send(&Buffers { readable: vec![], writable: vec![16] });
    bed.runner.step().unwrap();
    bed.runner.drain().unwrap();
    assert_eq!((bed.driver.used(), bed.driver.interrupts.queues()), (None, 0));
    writer.write_all(b"abc").unwrap();
    bed.runner.step().unwrap();
    assert_eq!(bed.driver.used(), Some((0, 3)), "a short read is an answer");
    assert_eq!(bed.driver.read(bed.driver.buffers(), 3), b"abc");
    assert_eq!(bed.driver.used(), None, "the second request waits on");
    writer.write_all(b"de").unwrap();
    bed.runner.step().unwrap();
    assert_eq!(bed.driver.used(), Some((1, 2)));
    assert_eq!(bed.rng.counters(), [("requests", 2), ("bytes", 5), ("source_waits", 2)]);
}

#[test]
fn a_source_that_ends_breaks_the_device() {
    let source = file_of(b"xyz");
    let mut bed = Bed::on(source.path());
    assert_eq!(bed.ask(&[8]).unwrap(), b"xyz");
    bed.driver.send(&Buffers { readable: vec![], writable: vec![8] });
    let error = bed.runner.step().unwrap_err();
    assert_eq!(error.to_string(), "cannot read the entropy source: unexpected end of file");
    assert_eq!(bed.driver.used(), None, "no request is answered with nothing");
}

#[test]
fn a_source_that_fails_breaks_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut bed = Bed::on(folder.path());
    bed.driver.send(&Buffers { readable: vec![], writable: vec![8] });
    let error = bed.runner.step().unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let error = Rng::open("rng0", "/nowhere/random".as_ref()).err().unwrap().to_string();
    assert!(error.contains("/nowhere/random"), "{error}");
}

#[test]
fn a_request_of_the_wrong_shape_breaks_the_device() {
    let wrong: [Buffers<'_>; 3] = [
        Buffers { readable: vec![b"?"], writable: vec![] },
        Buffers { readable: vec![b"?"], writable: vec![4] },
        Buffers { readable: vec![], writable: vec![0] },
    ];
    for request in &wrong {
        let mut bed = Bed::on(Rng::DEFAULT_SOURCE.as_ref());
        bed.driver.send(request);
        let error = bed.runner.step().unwrap_err();
        assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
    }
}

#[test]
fn a_queue_that_is_not_enabled_is_missed() {
    let rng = Rng::open("rng0", Rng::DEFAULT_SOURCE.as_ref()).unwrap();
    let mut without = activation(&Driver::queues(1, 8), Features::default());
    without.queues.clear();
    assert!(matches!(rng.activate(without), Err(ActivationError::MissingQueue(0))));
}

/// One after the other, devices of one VM go on where the one before stopped: bytes are given once.
#[test]
fn a_reset_gives_no_byte_again() {
    let data = pattern(300);
    let source = file_of(&data);
    let mut bed = Bed::on(source.path());
    assert_eq!(bed.ask(&[100]).unwrap(), data[..100]);
    let drivers = Driver::queues(1, 64);
    let mut workers = bed.rng.activate(activation(&drivers, Features::default())).unwrap();
    bed.runner = Runner::start(workers.remove(0)).unwrap();
    bed.driver = drivers.into_iter().next().unwrap();
    assert_eq!(bed.ask(&[100]).unwrap(), data[100..200]);
}

#[derive(Clone, Debug)]
enum Step {
    Ask(Vec<u32>),
    Give(usize),
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        prop::collection::vec(1_u32..3000, 1..5).prop_map(Step::Ask),
        (1_usize..5000).prop_map(Step::Give),
        Just(Step::Drain),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    /// However requests and bytes come in turns, the guest sees the source's bytes, each once and in order, and nothing
    /// is held back while there are both a request and a byte.
    #[test]
    fn the_guest_reads_what_the_source_gives(steps in steps()) {
        let (mut bed, mut writer) = pipe();
        let mut given = Vec::new();
        let (mut seen, mut waiting) = (Vec::new(), std::collections::VecDeque::new());
        for step in steps {
            match step {
                // As many as the ring has descriptors for.
                Step::Ask(writable) if waiting.len() < 12 => {
                    waiting.push_back(bed.driver.send(&Buffers { readable: vec![], writable }));
                }
                // As much as a pipe holds.
                Step::Give(len) if given.len() - seen.len() + len < 60_000 => {
                    let more = pattern(given.len() + len).split_off(given.len());
                    writer.write_all(&more).unwrap();
                    given.extend(more);
                }
                Step::Ask(_) | Step::Give(_) => {}
                Step::Drain => bed.runner.drain().unwrap(),
            }
            bed.runner.step().unwrap();
            while let Some((head, len)) = bed.driver.used() {
                let sent: crate::virtio::testing::Sent = waiting.pop_front().unwrap();
                prop_assert_eq!(head, sent.head);
                prop_assert!(len > 0);
                seen.extend(bed.gather(&sent.writable, len));
            }
            prop_assert!(waiting.is_empty() || seen.len() == given.len());
            prop_assert_eq!(&seen[..], &given[..seen.len()]);
        }
    }
}

/// Sources are opened in a way that does not wait for them.
#[test]
fn opening_a_pipe_without_a_writer_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut bed = Bed::on(&path);
    let mut writer: File = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"late").unwrap();
    assert_eq!(bed.ask(&[8]).unwrap(), b"late");
}
