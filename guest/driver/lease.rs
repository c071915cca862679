//! A lease in a disk's first sector: the vCPU that holds it reads it, finds to the bit what it wrote last, and renews it, over and over.
//!
//! Two copies of one guest write different leases, because the time of a renewal is in it: each finds the other's before it writes
//! again, and so does a guest that was put back in time. What it finds it tells in the second sector ([`COMPLAINT`]), and renews
//! nothing any more. The lease carries what every vCPU has come to, for a host that sees the disk's image and no memory.

use crate::arena::Arena;
use crate::block::{self, Slots};
use crate::io::{Address, Line, ticks};
use crate::pci::Function;
use crate::registers::Way;
use crate::shared::lease::{
    CHECKSUM, COMPLAINT, LINE_DONE, LINE_OUTCOME, LINE_PROGRESS, LINE_WORDS, MAGIC, MOST_VCPUS,
    SEQUENCE, TIME, TOLD, VCPU_LINES, WORDS, checksum,
};
use crate::shared::{OUTCOME_DATA, OUTCOME_NO_DEVICE};
use crate::virtio::{Device, Queue};

const BYTES: u64 = 8 * WORDS as u64;

/// A sector in memory.
#[derive(Clone, Copy)]
struct Sector(Address);

impl Sector {
    fn at(self, word: usize) -> Address {
        self.0.at(8 * word as u64)
    }

    fn get(self, word: usize) -> u64 {
        self.at(word).read64()
    }

    fn set(self, word: usize, value: u64) {
        self.at(word).write64(value);
    }

    fn words(self) -> impl Iterator<Item = u64> {
        (0..WORDS).map(move |word| self.get(word))
    }

    fn fill(self, value: u64) {
        (0..WORDS).for_each(|word| self.set(word, value));
    }

    fn copy_from(self, other: Self) {
        (0..WORDS).for_each(|word| self.set(word, other.get(word)));
    }

    fn seal(self) {
        self.set(CHECKSUM, checksum(self.words().take(CHECKSUM)));
    }
}

struct Disk {
    device: Device,
    queue: Queue,
    slots: Slots,
}

impl Disk {
    fn open(slot: u64, arena: &mut Arena) -> Result<Self, u64> {
        let function = Function::virtio(slot)?;
        if function.device_id() != block::DEVICE_ID {
            return Err(OUTCOME_NO_DEVICE);
        }
        let device = Device::open(function, Way::Bar)?;
        // With flushes a write is done when every process of the host sees it, and that is all that is wanted.
        device.negotiate(block::FLUSH)?;
        let queue = device.queue(0, 16, arena);
        device.queues_besides_first(arena);
        let slots = Slots::of(arena, BYTES, 1);
        device.driver_ok()?;
        Ok(Self { device, queue, slots })
    }

    fn request(&mut self, kind: u32, sector: u64) -> Result<(), u64> {
        block::one(&self.device, &mut self.queue, &self.slots, kind, sector)
    }

    /// What was read, or is to be written.
    fn buffer(&self) -> Sector {
        Sector(self.slots.data(0))
    }

    fn read(&mut self, sector: u64) -> Result<(), u64> {
        // What is not read cannot be taken for what is.
        self.buffer().fill(!0);
        self.request(block::IN, sector)
    }
}

pub fn run(line: &Line, vcpu: u64) -> Result<(), u64> {
    let told = line.argument(1).min(MOST_VCPUS);
    let mut arena = Arena::of(vcpu);
    let mut disk = Disk::open(line.argument(0), &mut arena)?;
    // What was written last.
    let mine = Sector(arena.take(BYTES));
    disk.read(0)?;
    mine.copy_from(disk.buffer());
    // Goes on from whoever had it before: the host sees one sequence.
    let mut sequence = if mine.get(MAGIC.0) == MAGIC.1 { mine.get(SEQUENCE) } else { 0 };
    while !line.stopped() {
        disk.read(0)?;
        if !disk.buffer().words().eq(mine.words()) {
            return complain(&mut disk, mine);
        }
        sequence += 1;
        renew(mine, sequence, told);
        disk.buffer().copy_from(mine);
        disk.request(block::OUT, 0)?;
        line.progress(sequence);
        line.result(1, sequence);
    }
    Ok(())
}

fn renew(lease: Sector, sequence: u64, told: u64) {
    lease.set(MAGIC.0, MAGIC.1);
    lease.set(SEQUENCE, sequence);
    lease.set(TIME, ticks());
    lease.set(TOLD, told);
    for vcpu in 0..told {
        let line = Line::of(vcpu);
        let at = VCPU_LINES + LINE_WORDS * vcpu as usize;
        lease.set(at + LINE_DONE, line.done());
        lease.set(at + LINE_PROGRESS, line.rounds());
        // What it is at the end when the command is done.
        lease.set(at + LINE_OUTCOME, line.outcome());
    }
    lease.seal();
}

/// Somebody else has written the lease, or this one's memory is not what it was.
fn complain(disk: &mut Disk, mine: Sector) -> Result<(), u64> {
    let said = disk.buffer();
    let found = [MAGIC.0, SEQUENCE, TIME].map(|word| said.get(word));
    said.fill(0);
    said.set(MAGIC.0, COMPLAINT);
    said.set(SEQUENCE, mine.get(SEQUENCE));
    said.set(TIME, mine.get(TIME));
    for (at, word) in found.into_iter().enumerate() {
        said.set(VCPU_LINES + at, word);
    }
    said.seal();
    disk.request(block::OUT, 1)?;
    Err(OUTCOME_DATA)
}
