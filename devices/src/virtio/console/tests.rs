//! A driver on one side, a host's console (a recorder, or a real one) on the other.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};

use proptest::prelude::*;

use super::input::INPUT_LIMIT;
use super::worker::REQUEST_LIMIT;
use super::*;
use crate::console::{Backend, HostConsole};
use crate::virtio::testing::{Buffers, Driver, Runner, Sent, activation};
use crate::virtio::{Features, Malformed, WorkerError};

const NEXT: u16 = 1;

/// Records what is sent, and how often it was called for more input.
struct Recorder {
    sent: Sender<u8>,
    called: AtomicU64,
}

impl ConsoleOutput for Recorder {
    fn send(&self, byte: u8) {
        self.sent.send(byte).unwrap();
    }
    fn input_has_room(&self) {
        self.called.fetch_add(1, Ordering::SeqCst);
    }
}

struct Bed {
    console: Arc<VirtioConsole>,
    receive: Driver,
    transmit: Driver,
    runner: Runner,
}

impl Bed {
    fn on(output: Arc<dyn ConsoleOutput>) -> Self {
        let console = VirtioConsole::new("con0", output).unwrap();
        console.resized(ConsoleSize { columns: 80, rows: 25 });
        Self::of(Arc::new(console))
    }

    fn of(console: Arc<VirtioConsole>) -> Self {
        let drivers = Driver::queues(2, 64);
        let mut workers = console.activate(activation(&drivers, Features::default())).unwrap();
        let runner = Runner::start(workers.remove(0)).unwrap();
        let [receive, transmit] = drivers.try_into().ok().unwrap();
        Self { console, receive, transmit, runner }
    }

    fn recorded() -> (Self, Arc<Recorder>, Receiver<u8>) {
        let (sent, screen) = channel();
        let recorder = Arc::new(Recorder { sent, called: AtomicU64::new(0) });
        (Self::on(Arc::clone(&recorder) as _), recorder, screen)
    }

    fn print(&mut self, parts: Vec<&[u8]>) -> Sent {
        self.transmit.send(&Buffers { readable: parts, writable: vec![] })
    }

    fn post(&mut self, writable: Vec<u32>) -> Sent {
        self.receive.send(&Buffers { readable: vec![], writable })
    }

    /// What came in the oldest receive buffer that is back.
    fn received(&mut self, posted: &mut VecDeque<Sent>) -> Option<Vec<u8>> {
        let (head, mut len) = self.receive.used()?;
        let sent = posted.pop_front().unwrap();
        assert_eq!(head, sent.head);
        assert!(len > 0, "an empty buffer says nothing");
        let mut data = Vec::new();
        for (gpa, room) in &sent.writable {
            let part = len.min(*room);
            data.extend(self.receive.read(*gpa, part));
            len -= part;
        }
        assert_eq!(len, 0);
        Some(data)
    }
}

fn counter(source: &dyn CounterSource, name: &str) -> u64 {
    source.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
}

#[test]
fn output_is_sent_and_its_buffers_come_back() {
    let (mut bed, _, screen) = Bed::recorded();
    bed.print(vec![b"hello, ", b"world"]);
    bed.print(vec![b"!"]);
    bed.runner.step().unwrap();
    assert_eq!(screen.try_iter().collect::<Vec<_>>(), b"hello, world!");
    assert_eq!(bed.transmit.used(), Some((0, 0)));
    assert_eq!(bed.transmit.used(), Some((2, 0)));
    assert_eq!(counter(&*bed.console, "bytes_sent"), 13);
}

#[test]
fn input_waits_for_buffers_and_then_for_a_new_driver() {
    let (mut bed, recorder, _screen) = Bed::recorded();
    assert_eq!(bed.console.offer(b"typed early"), 11);
    bed.runner.step().unwrap();
    assert_eq!(bed.receive.used(), None);
    let mut posted = VecDeque::from([bed.post(vec![4, 2])]);
    bed.runner.step().unwrap();
    assert_eq!(bed.received(&mut posted).unwrap(), b"typed ");
    assert_eq!(bed.receive.interrupts.queues(), 1);
    drop(bed.runner);
    let mut bed = Bed::of(bed.console);
    let mut posted = VecDeque::from([bed.post(vec![64])]);
    bed.runner.step().unwrap();
    assert_eq!(bed.received(&mut posted).unwrap(), b"early");
    assert_eq!(recorder.called.load(Ordering::SeqCst), 0, "nothing was ever refused");
}

#[test]
fn a_full_ring_refuses_and_calls_when_there_is_room() {
    let (mut bed, recorder, _screen) = Bed::recorded();
    assert_eq!(bed.console.offer(&[7; 5000]), INPUT_LIMIT);
    assert_eq!(bed.console.offer(&[7]), 0);
    bed.post(vec![1]);
    bed.runner.step().unwrap();
    assert_eq!(recorder.called.load(Ordering::SeqCst), 1);
    assert_eq!(bed.console.offer(&[7; 2]), 1);
}

#[test]
fn the_size_is_in_the_configuration() {
    let (bed, _, _screen) = Bed::recorded();
    let console = &bed.console;
    assert_eq!((console.features(), console.size().rows), (1, 25));
    let read = |offset, len| {
        let mut data = vec![0xAA; len];
        console.read_config(offset, &mut data);
        data
    };
    assert_eq!(read(0, 14), [80, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let wide = ConsoleSize { columns: 0x1234, rows: 0x5678 };
    console.resized(wide);
    assert_eq!(console.size(), wide);
    assert_eq!([read(0, 2), read(2, 2)], [[0x34, 0x12], [0x78, 0x56]]);
    assert_eq!(read(1, 2), [0x12, 0x78]);
    assert_eq!(read(u64::MAX, 2), [0, 0]);
    console.write_config(0, &[1, 1, 1, 1]);
    assert_eq!(console.size(), wide, "the driver cannot set it");
}

#[test]
fn a_size_is_announced_once_and_again_to_a_new_driver() {
    let (mut bed, _, _screen) = Bed::recorded();
    let announced = |bed: &Bed| bed.receive.interrupts.config();
    assert_eq!(announced(&bed), 1, "Linux does not look at it before");
    for (columns, expected) in [(80, 1), (81, 2), (81, 2), (80, 3)] {
        bed.console.resized(ConsoleSize { columns, rows: 25 });
        bed.runner.step().unwrap();
        assert_eq!(announced(&bed), expected);
    }
    drop(bed.runner);
    assert_eq!(announced(&Bed::of(Arc::clone(&bed.console))), 1);
}

#[test]
fn a_console_without_a_size_announces_none() {
    let (sent, _screen) = channel();
    let recorder = Recorder { sent, called: AtomicU64::new(0) };
    let bed = Bed::of(Arc::new(VirtioConsole::new("con0", Arc::new(recorder)).unwrap()));
    assert_eq!(bed.receive.interrupts.config(), 0);
}

#[test]
fn requests_of_the_wrong_shape_break_the_device() {
    let writable = Buffers { readable: vec![], writable: vec![4] };
    let readable = Buffers { readable: vec![b"?"], writable: vec![] };
    let empty = Buffers { readable: vec![], writable: vec![0] };
    for (queue, request) in [(0, &readable), (0, &empty), (1, &writable)] {
        let (mut bed, _, _screen) = Bed::recorded();
        bed.console.offer(b"x");
        let driver = if queue == 0 { &mut bed.receive } else { &mut bed.transmit };
        driver.send(request);
        let error = bed.runner.step().unwrap_err();
        assert!(matches!(error, WorkerError::Malformed(Malformed::Shape(_))), "{error}");
    }
}

/// One request that says the same memory again and again sends a bounded part of it.
#[test]
fn a_huge_request_is_cut() {
    let (mut bed, _, screen) = Bed::recorded();
    let gpa = bed.transmit.buffers();
    let each = 1 << 20;
    for place in 0..8 {
        bed.transmit.describe(gpa, each, if place < 7 { NEXT } else { 0 });
    }
    bed.transmit.offer(0);
    bed.transmit.doorbell.notify();
    bed.runner.step().unwrap();
    assert_eq!(bed.transmit.used(), Some((0, 0)));
    assert_eq!(screen.try_iter().count(), REQUEST_LIMIT as usize);
    let dropped = u64::from(8 * each - REQUEST_LIMIT);
    assert_eq!(counter(&*bed.console, "bytes_oversize"), dropped);
}

/// More than any ring, pseudo-terminal or call holds.
#[test]
fn a_host_side_that_does_not_read_stops_nobody() {
    let host = HostConsole::start("con-stuck", Backend::Pty, None).unwrap();
    let mut bed = Bed::on(Arc::<crate::console::ConsolePort>::clone(host.port()));
    let page = [b'x'; 4096];
    for _ in 0..512 {
        bed.print(vec![&page]);
        bed.runner.step().unwrap();
        assert!(bed.transmit.used().is_some(), "the buffer comes back at once");
    }
    let port = Arc::clone(host.port());
    host.stop();
    let (taken, dropped) = (counter(&*port, "output_bytes"), counter(&*port, "output_dropped"));
    assert_eq!(taken + dropped, 512 * 4096);
    assert!(dropped > 0);
}

/// A paste that is longer than all buffers together arrives whole at a guest that echoes it.
#[test]
fn a_long_paste_is_echoed() {
    let (input, mut keys) = std::io::pipe().unwrap();
    let (mut screen, output) = std::io::pipe().unwrap();
    let backend = Backend::Terminal { input: input.into(), output: output.into(), resized: None };
    let host = HostConsole::start("con-paste", backend, None).unwrap();
    let mut bed = Bed::on(Arc::<crate::console::ConsolePort>::clone(host.port()));
    host.port().attach(&bed.console);
    let text: Vec<u8> = (0..250).cycle().take(300_000).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| keys.write_all(&text).unwrap());
        let reader = scope.spawn(|| {
            let mut got = vec![0; text.len()];
            std::io::Read::read_exact(&mut screen, &mut got).unwrap();
            got
        });
        let mut posted = VecDeque::new();
        let mut echoed = 0;
        while echoed < text.len() {
            while posted.len() < 20 {
                posted.push_back(bed.post(vec![100, 33]));
            }
            bed.runner.sleep().unwrap();
            while let Some(data) = bed.received(&mut posted) {
                echoed += data.len();
                bed.print(vec![&data]);
                bed.runner.step().unwrap();
                assert!(bed.transmit.used().is_some());
            }
            // A guest that prints faster than a person reads waits for the screen.
            while (echoed as u64) > counter(&host, "output_bytes") + 60_000 {
                std::thread::yield_now();
            }
        }
        assert!(reader.join().unwrap() == text);
    });
    assert_eq!(counter(&host, "output_dropped"), 0);
    host.stop();
}

#[derive(Clone, Debug)]
enum Step {
    Offer(usize),
    Post(Vec<u32>),
    Print(Vec<usize>),
    Drain,
    Reactivate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1_usize..3000).prop_map(Step::Offer),
        3 => prop::collection::vec(1_u32..3000, 1..4).prop_map(Step::Post),
        3 => prop::collection::vec(0_usize..3000, 1..4).prop_map(Step::Print),
        1 => Just(Step::Drain),
        1 => Just(Step::Reactivate),
    ];
    prop::collection::vec(step, 1..50)
}

fn pattern(from: usize, len: usize) -> Vec<u8> {
    (0..251).cycle().skip(from % 251).take(len).collect()
}

proptest! {
    /// Whatever comes in turns, both streams arrive whole, in order and once; input is refused only by a full ring, and
    /// who was refused is called as soon as there is room.
    #[test]
    fn both_ways_agree_with_plain_streams(steps in steps()) {
        let (mut bed, recorder, screen) = Bed::recorded();
        let (mut printed, mut shown) = (0, 0);
        let (mut typed, mut seen) = (0, 0);
        let (mut posted, mut refused, mut called) = (VecDeque::new(), false, 0);
        for step in steps {
            match step {
                Step::Offer(len) => {
                    let taken = bed.console.offer(&pattern(typed, len));
                    typed += taken;
                    prop_assert!(taken == len || typed - seen == INPUT_LIMIT);
                    refused |= taken < len;
                }
                // As many as the ring has descriptors for.
                Step::Post(writable) if posted.len() < 15 => posted.push_back(bed.post(writable)),
                Step::Post(_) => {}
                Step::Print(lens) => {
                    let data = pattern(printed, lens.iter().sum());
                    let mut rest = &data[..];
                    let parts = lens.iter().map(|len| rest.split_off(..*len).unwrap()).collect();
                    bed.print(parts);
                    printed += data.len();
                }
                Step::Drain => bed.runner.drain().unwrap(),
                Step::Reactivate => {
                    posted.clear();
                    bed = Bed::of(bed.console);
                }
            }
            bed.runner.step().unwrap();
            while bed.transmit.used().is_some() {}
            while let Some(data) = bed.received(&mut posted) {
                prop_assert_eq!(&data, &pattern(seen, data.len()));
                seen += data.len();
            }
            let more: Vec<u8> = screen.try_iter().collect();
            prop_assert_eq!(&more, &pattern(shown, more.len()));
            shown += more.len();
            prop_assert_eq!(shown, printed, "output waits for nothing");
            prop_assert!(posted.is_empty() || seen == typed, "input waits for buffers only");
            let calls = recorder.called.load(Ordering::SeqCst);
            prop_assert!(refused || calls == called, "called for nothing");
            if refused && typed - seen < INPUT_LIMIT {
                prop_assert_eq!(calls, called + 1);
                refused = false;
            }
            called = calls;
        }
    }
}
