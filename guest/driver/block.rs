//! Block requests: for the benchmark, and with data that is checked.

use crate::arena::Arena;
use crate::io::{Address, Line, Random, ticks};
use crate::pci::Function;
use crate::registers::Way;
use crate::shared::{OUTCOME_DATA, OUTCOME_NEEDS_RESET, OUTCOME_NO_DEVICE, OUTCOME_REQUEST, Pattern};
use crate::virtio::{Device, NEXT, Queue, WRITE};

pub const DEVICE_ID: u16 = 0x1042;
/// VIRTIO_BLK_F_FLUSH (virtio 1.2, 5.2.3).
pub const FLUSH: u64 = 1 << 9;
pub const IN: u32 = 0;
pub const OUT: u32 = 1;
const SECTOR: u64 = 512;
/// Descriptors of a request: header, data, status.
const PARTS: u16 = 3;

/// What a command asks for.
struct Job {
    requests: u64,
    bytes: u64,
    depth: u64,
    sectors: u64,
    pattern: u64,
    seed: u64,
}

/// Places in memory of one request in flight.
pub struct Slots {
    headers: Address,
    data: Address,
    bytes: u64,
}

impl Slots {
    pub fn of(arena: &mut Arena, bytes: u64, depth: u64) -> Self {
        Self { headers: arena.take(32 * depth), data: arena.take(bytes * depth), bytes }
    }

    fn header(&self, slot: u64) -> Address {
        self.headers.at(32 * slot)
    }

    fn status(&self, slot: u64) -> Address {
        self.header(slot).at(16)
    }

    pub fn data(&self, slot: u64) -> Address {
        self.data.at(self.bytes * slot)
    }
}

pub fn run(line: &Line, vcpu: u64) -> Result<(), u64> {
    let function = Function::virtio(line.argument(0))?;
    if function.device_id() != DEVICE_ID {
        return Err(OUTCOME_NO_DEVICE);
    }
    let job = Job {
        requests: line.argument(1),
        bytes: line.argument(2),
        depth: line.argument(3),
        sectors: line.argument(4),
        pattern: line.argument(5),
        seed: line.argument(6),
    };
    let device = Device::open(function, Way::Bar)?;
    // With flushes a write is done when the host has it, as for the plain program that the benchmark has beside. Who verifies does
    // without, so that each write is safe when it is done.
    let verifies = job.pattern == Pattern::Verify as u64;
    device.negotiate(if verifies { 0 } else { FLUSH })?;
    let mut arena = Arena::of(vcpu);
    let mut queue = device.queue(0, 256, &mut arena);
    let depth = job.depth.min(u64::from(queue.size / PARTS));
    device.queues_besides_first(&mut arena);
    let slots = Slots::of(&mut arena, job.bytes, depth);
    device.driver_ok()?;
    let mut run = Run {
        line,
        device: &device,
        queue: &mut queue,
        slots: &slots,
        job: &job,
        depth,
        free: (1 << depth) - 1,
        idle: 0,
    };
    let begun = ticks();
    let result = if verifies { run.verify() } else { run.measure() };
    line.result(2, ticks() - begun);
    result
}

struct Run<'a> {
    line: &'a Line,
    device: &'a Device,
    queue: &'a mut Queue,
    slots: &'a Slots,
    job: &'a Job,
    depth: u64,
    /// Slots whose request has come back through the used ring, a bit each. (Their status is written before that, and
    /// says nothing about it.)
    free: u128,
    /// How often nothing had come back.
    idle: u32,
}

impl Run<'_> {
    fn measure(&mut self) -> Result<(), u64> {
        let mut random = Random::new(self.job.seed);
        let write = self.job.pattern & 1 == 1;
        let sequential = self.job.pattern >= Pattern::SequentialRead as u64;
        let step = self.job.bytes / SECTOR;
        let places = (self.job.sectors / step).max(1);
        let (mut begun, mut done) = (0, 0);
        while done < self.job.requests {
            let mut offered = false;
            while begun < self.job.requests && begun - done < self.depth {
                let place = if sequential { begun % places } else { random.below(places) };
                let slot = u64::from(self.free.trailing_zeros());
                self.free &= self.free - 1;
                self.offer(slot, if write { OUT } else { IN }, place * step);
                begun += 1;
                offered = true;
            }
            if offered {
                self.queue.notify();
            }
            done += self.reap()?;
            self.line.result(1, done);
        }
        Ok(())
    }

    /// Writes one request after the other and reads it back, `depth` of them at a time.
    fn verify(&mut self) -> Result<(), u64> {
        let step = self.job.bytes / SECTOR;
        let places = (self.job.sectors / step).max(1);
        let mut random = Random::new(self.job.seed);
        let mut done = 0;
        while done < self.job.requests && !self.line.stopped() {
            let first = random.below(places.saturating_sub(self.depth));
            for pass in [OUT, IN] {
                for slot in 0..self.depth {
                    let place = first + slot;
                    if pass == OUT {
                        self.fill(slot, place, done);
                    } else {
                        self.fill(slot, !place, !done);
                    }
                    self.offer(slot, pass, place * step);
                }
                self.queue.notify();
                let mut back = 0;
                while back < self.depth {
                    back += self.reap()?;
                }
            }
            for slot in 0..self.depth {
                if !self.holds(slot, first + slot, done) {
                    self.line.result(3, first + slot);
                    return Err(OUTCOME_DATA);
                }
            }
            done += self.depth;
            self.line.result(1, done);
            self.line.progress(done);
        }
        Ok(())
    }

    fn word(&self, place: u64, round: u64, at: u64) -> u64 {
        (place << 32 ^ round << 16 ^ at ^ self.job.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn fill(&self, slot: u64, place: u64, round: u64) {
        for at in (0..self.slots.bytes).step_by(8) {
            self.slots.data(slot).at(at).write64(self.word(place, round, at));
        }
    }

    fn holds(&self, slot: u64, place: u64, round: u64) -> bool {
        (0..self.slots.bytes)
            .step_by(8)
            .all(|at| self.slots.data(slot).at(at).read64() == self.word(place, round, at))
    }

    fn offer(&mut self, slot: u64, kind: u32, sector: u64) {
        offer(self.queue, self.slots, slot, kind, sector);
    }

    /// Takes back what the device has done; how many.
    fn reap(&mut self) -> Result<u64, u64> {
        let mut done = 0;
        while let Some((head, _)) = self.queue.used() {
            let slot = u64::from(head / PARTS);
            if self.slots.status(slot).read8() != 0 {
                self.line.result(3, slot);
                return Err(OUTCOME_REQUEST);
            }
            self.free |= 1 << slot;
            done += 1;
        }
        if done == 0 {
            core::hint::spin_loop();
            self.idle = self.idle.wrapping_add(1);
            // Asking costs an exit, so it is asked seldom.
            if self.idle % 0x10_0000 == 0 && self.device.needs_reset() {
                return Err(OUTCOME_NEEDS_RESET);
            }
        }
        Ok(done)
    }
}

const PENDING: u8 = 0xFF;

fn offer(queue: &mut Queue, slots: &Slots, slot: u64, kind: u32, sector: u64) {
    let header = slots.header(slot);
    header.write32(kind);
    header.at(8).write64(sector);
    slots.status(slot).write8(PENDING);
    let head = slot as u16 * PARTS;
    let data = if kind == IN { NEXT | WRITE } else { NEXT };
    queue.describe(head, header, 16, NEXT);
    queue.describe(head + 1, slots.data(slot), slots.bytes as u32, data);
    queue.describe(head + 2, slots.status(slot), 1, WRITE);
    queue.offer(head);
}

/// One request with what is in the first slot, to its end.
pub fn one(
    device: &Device,
    queue: &mut Queue,
    slots: &Slots,
    kind: u32,
    sector: u64,
) -> Result<(), u64> {
    offer(queue, slots, 0, kind, sector);
    queue.notify();
    let mut idle = 0_u32;
    while queue.used().is_none() {
        idle = idle.wrapping_add(1);
        if idle % 0x10_0000 == 0 && device.needs_reset() {
            return Err(OUTCOME_NEEDS_RESET);
        }
        core::hint::spin_loop();
    }
    if slots.status(0).read8() == 0 { Ok(()) } else { Err(OUTCOME_REQUEST) }
}

/// Offers reads of the first sectors and waits for some of them.
pub fn read_some(
    device: &Device,
    queue: &mut Queue,
    slots: &Slots,
    requests: u64,
    awaited: u64,
) -> Result<(), u64> {
    for slot in 0..requests {
        offer(queue, slots, slot, IN, 0);
    }
    queue.notify();
    let (mut done, mut idle) = (0, 0_u32);
    while done < awaited {
        if let Some((head, _)) = queue.used() {
            if slots.status(u64::from(head / PARTS)).read8() != 0 {
                return Err(OUTCOME_REQUEST);
            }
            done += 1;
            continue;
        }
        idle = idle.wrapping_add(1);
        if idle % 0x10_0000 == 0 && device.needs_reset() {
            return Err(OUTCOME_NEEDS_RESET);
        }
        core::hint::spin_loop();
    }
    Ok(())
}
