//! A disk: every request is answered once, reads see what was written.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use vm_memory::GuestAddress;

use super::*;
use crate::virtio::block::{BlockDevice, BlockOptions, Engine};
use crate::virtio::testing::Buffers;

const SECTORS: u64 = 64;
/// Requests on their way at most: their descriptors go round.
const WINDOW: usize = 16;

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u8),
    Read(u64),
    Flush,
    /// Sleeps until an interrupt, and takes what has come back.
    Collect,
    /// The machine is another one from here on.
    Move,
    /// It is saved twice in a row: the second time before a worker has begun.
    MoveTwice,
}

fn op() -> impl Strategy<Value = Op> {
    let sector = 0..SECTORS;
    prop_oneof![
        6 => (sector.clone(), any::<u8>()).prop_map(|(sector, byte)| Op::Write(sector, byte)),
        6 => sector.prop_map(Op::Read),
        1 => Just(Op::Flush),
        3 => Just(Op::Collect),
        2 => Just(Op::Move),
        1 => Just(Op::MoveTwice),
    ]
}

/// What a request will have done when it comes back.
struct Pending {
    status: GuestAddress,
    sector: Option<u64>,
    /// Where a read goes, or what a write writes.
    outcome: Outcome,
}

enum Outcome {
    Reads(GuestAddress),
    Writes(u8),
    Nothing,
}

struct Disk {
    machine: Machine,
    options: BlockOptions,
    pending: BTreeMap<u16, Pending>,
    contents: Vec<u8>,
    /// Since nothing was on its way.
    sent: usize,
}

impl Disk {
    fn new(dir: &Path, features: u64, engine: Engine) -> Self {
        let path = dir.join("disk.raw");
        std::fs::File::create(&path).unwrap().set_len(SECTORS * 512).unwrap();
        let mut options = BlockOptions::new("disk0", path);
        options.queue_size = 64;
        options.engine = engine;
        let device = Arc::new(BlockDevice::open(options.clone()).unwrap());
        let mut machine = Machine::new(device, Driver::queues(1, 64));
        machine.start(features);
        let contents = vec![0; usize::try_from(SECTORS).unwrap()];
        Self { machine, options, pending: BTreeMap::new(), contents, sent: 0 }
    }

    fn send(
        &mut self,
        kind: u32,
        sector: Option<u64>,
        data: &[u8],
        room: Option<u32>,
    ) -> (u16, Vec<(GuestAddress, u32)>) {
        if self.sent >= WINDOW {
            self.collect_all();
        }
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.unwrap_or(0).to_le_bytes());
        let mut readable = vec![header.as_slice()];
        if !data.is_empty() {
            readable.push(data);
        }
        let writable = room.into_iter().chain([1]).collect();
        let sent = self.machine.drivers[0].send(&Buffers { readable, writable });
        self.sent += 1;
        (sent.head, sent.writable)
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Write(sector, byte) if self.is_free(sector) => {
                let (head, writable) = self.send(1, Some(sector), &[byte; 512], None);
                let (status, outcome) = (writable[0].0, Outcome::Writes(byte));
                self.pending.insert(head, Pending { status, sector: Some(sector), outcome });
            }
            Op::Read(sector) if self.is_free(sector) => {
                let (head, writable) = self.send(0, Some(sector), &[], Some(512));
                let (status, outcome) = (writable[1].0, Outcome::Reads(writable[0].0));
                self.pending.insert(head, Pending { status, sector: Some(sector), outcome });
            }
            Op::Flush => {
                let (head, writable) = self.send(4, None, &[], None);
                let (status, outcome) = (writable[0].0, Outcome::Nothing);
                self.pending.insert(head, Pending { status, sector: None, outcome });
            }
            Op::Collect if !self.pending.is_empty() => self.collect(),
            Op::Write(..) | Op::Read(_) | Op::Collect => {}
            Op::Move | Op::MoveTwice => panic!("not of one machine"),
        }
    }

    /// Whether no request is on its way for a sector: their order would be anybody's.
    fn is_free(&self, sector: u64) -> bool {
        self.pending.values().all(|pending| pending.sector != Some(sector))
    }

    fn moved(self, twice: bool) -> Self {
        let Self { machine, options, pending, contents, sent } = self;
        let open = || Arc::new(BlockDevice::open(options.clone()).unwrap()) as _;
        let mut machine = machine.moved(open);
        if twice {
            machine = machine.moved(open);
        }
        Self { machine, options, pending, contents, sent }
    }

    /// Sleeps until it is interrupted, then takes all there is.
    fn collect(&mut self) {
        self.machine.await_interrupt(0);
        while let Some((head, _)) = self.machine.take(0) {
            let pending = self.pending.remove(&head).expect("a request that was sent, once");
            let driver = &self.machine.drivers[0];
            assert_eq!(driver.read(pending.status, 1), [0], "it is OK");
            let place = pending.sector.map(|sector| usize::try_from(sector).unwrap());
            match (pending.outcome, place) {
                (Outcome::Reads(gpa), Some(place)) => {
                    assert_eq!(driver.read(gpa, 512), [self.contents[place]; 512]);
                }
                (Outcome::Writes(byte), Some(place)) => self.contents[place] = byte,
                _ => {}
            }
        }
        if self.pending.is_empty() {
            self.sent = 0;
        }
    }

    fn collect_all(&mut self) {
        while !self.pending.is_empty() {
            self.collect();
        }
    }
}

fn check(ops: &[Op], features: u64, engine: Engine) {
    let dir = TempDir::new().unwrap();
    let mut disk = Disk::new(dir.path(), features, engine);
    for op in ops {
        match op {
            Op::Move | Op::MoveTwice => disk = disk.moved(matches!(op, Op::MoveTwice)),
            op => disk.run(op),
        }
    }
    disk.collect_all();
    for sector in 0..SECTORS {
        disk.run(&Op::Read(sector));
    }
    disk.collect_all();
    assert_eq!(disk.machine.drivers[0].used(), None, "nothing came twice");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_disk_answers_every_request_once_wherever_its_machine_is(
        ops in proptest::collection::vec(op(), 1..60),
        events: bool,
        uring: bool,
    ) {
        let features = if events { Features::EVENT_IDX } else { 0 };
        check(&ops, features, if uring { Engine::IoUring } else { Engine::Blocking });
    }
}

#[test]
fn a_disk_of_another_size_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::new(dir.path(), 0, Engine::Blocking);
    let still = disk.machine.pause();
    let saved = disk.machine.function.save();
    drop(still);
    let path = dir.path().join("other.raw");
    std::fs::File::create(&path).unwrap().set_len(512).unwrap();
    let mut options = BlockOptions::new("disk0", path);
    options.queue_size = 64;
    let other = Machine::new(Arc::new(BlockDevice::open(options).unwrap()), Driver::queues(1, 64));
    let error = other.function.restore(&saved).unwrap_err().to_string();
    assert!(error.starts_with("the disk's size in sectors is 1 here, and was 64"), "{error}");
    assert_eq!(other.state(), State::Inactive);
}
