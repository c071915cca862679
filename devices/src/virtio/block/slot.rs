//! A request in the works: from the chain to its status, by one operation at a time.
//!
//! ```text
//!                    ┌───────────── more bytes, more ranges, another way to zero ─────────────┐
//!                    ▼                                                                        │
//!   begin ─▶ next ─▶ Submit(operation) ─▶ (backend) ─▶ completed ─▶ next ─▶ … ─▶ Finish(status)
//! ```
//!
//! One request takes several operations when the host moves fewer bytes than it was asked for, when its bytes go
//! through a buffer of ours, when it has several ranges, and when the host does not know the cheap way to zero
//! one: then the next way is tried, down to writing zeros.
//!
//! Invariant: each operation makes progress or is one of a bounded number of retries, so a request ends.

use std::ops::Range;

use rustix::io::Errno;

use super::backend::{Action, Operation};
use super::image::{Guard, MAGIC};
use super::reach::{Reach, Via};
use super::request::{DiskRange, Fate, HEADER, Request, SECTOR, SERIAL, Status};
use super::transfer::{Direction, Gathered, Transfer};
use crate::memory::GuestMemory;
use crate::virtio::{Chain, Malformed};

/// How often an operation that the host has not begun (`EAGAIN`, `EINTR`) is tried again.
const RETRIES: u8 = 16;

/// What a request is carried out with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub reach: Reach,
    pub guard: Guard,
    pub durability: Durability,
    pub serial: [u8; SERIAL],
}

/// When written data is safe (virtio 1.2, 5.2.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// After a flush.
    WriteBack,
    /// When the write has been completed: the driver knows no flushes.
    WriteThrough,
}

/// What a request needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Submit(Operation),
    Finish(Status),
}

/// What is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    /// Move the bytes `rest` of the chain's part from or to a place on the disk.
    Move { direction: Direction, offset: u64, rest: Range<u32> },
    /// Zero `ranges[at..]`.
    Ranges { at: usize, how: How },
    /// Make safe what was written.
    Sync,
    /// Nothing; the status is known.
    End(Status),
}

/// The ways to zero a range, the best one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Deallocate,
    Zero,
    ByHand,
}

/// A place for a request, used again and again.
pub(super) struct Slot {
    pub chain: Chain,
    pub request: Option<Request>,
    ranges: Vec<DiskRange>,
    work: Work,
    retries: u8,
    /// Where the bytes of the operation under way begin in their part of the chain.
    start: u32,
    transfer: Option<Box<Transfer>>,
}

impl Slot {
    pub fn new(memory: &GuestMemory) -> Self {
        Self {
            chain: Chain::new(),
            request: None,
            ranges: Vec::new(),
            work: Work::End(Status::Ok),
            retries: 0,
            start: 0,
            transfer: Some(Box::new(Transfer::new(memory.clone()))),
        }
    }

    /// Where the ranges of a request go when it is parsed.
    pub fn parts(&mut self) -> (&Chain, &mut Vec<DiskRange>) {
        self.ranges.clear();
        (&self.chain, &mut self.ranges)
    }

    /// Begins the request that the chain was found to be.
    pub fn begin(
        &mut self,
        request: Request,
        rules: &Rules,
        memory: &GuestMemory,
    ) -> Result<(), Malformed> {
        self.request = Some(request);
        self.retries = 0;
        self.work = match request {
            Request::Read { offset, len } => {
                Work::Move { direction: Direction::Read, offset, rest: 0..len }
            }
            Request::Write { offset, len } => {
                Work::Move { direction: Direction::Write, offset, rest: HEADER..HEADER + len }
            }
            Request::Flush => Work::Sync,
            Request::Identify => Work::End(self.identify(rules, memory)?),
            Request::Discard | Request::WriteZeroes => self.range(0),
        };
        Ok(())
    }

    /// What to do next, and with which memory.
    pub fn next(&mut self, rules: &Rules) -> Result<Step, Malformed> {
        loop {
            let through = rules.durability == Durability::WriteThrough;
            match &self.work {
                Work::End(status) => return Ok(Step::Finish(*status)),
                Work::Sync => {
                    let operation =
                        Operation { action: Action::Sync, offset: 0, len: 0, via: Via::Cache };
                    return Ok(Step::Submit(operation));
                }
                Work::Move { direction, rest, .. } if rest.is_empty() => {
                    let sync = through && *direction == Direction::Write;
                    self.work = if sync { Work::Sync } else { Work::End(Status::Ok) };
                }
                Work::Move { direction, offset, rest } => {
                    return self.move_bytes(*direction, *offset, rest.clone(), rules);
                }
                Work::Ranges { at, .. } if *at == self.ranges.len() => {
                    self.work = if through { Work::Sync } else { Work::End(Status::Ok) };
                }
                Work::Ranges { at, how } => {
                    let (range, how) = (self.ranges[*at], *how);
                    if range.len > 0 {
                        return Ok(self.zero(range, how, rules));
                    }
                    self.work = self.range(*at + 1);
                }
            }
        }
    }

    /// The memory for the operation that [`next`](Self::next) has asked for.
    pub fn take_transfer(&mut self) -> Option<Box<Transfer>> {
        self.transfer.take()
    }

    /// The operation has ended.
    pub fn completed(
        &mut self,
        result: Result<u32, Errno>,
        transfer: Box<Transfer>,
    ) -> Result<(), Malformed> {
        let transfer = self.transfer.insert(transfer);
        let done = match result {
            Ok(done) => done,
            Err(Errno::AGAIN | Errno::INTR) if self.retries < RETRIES => {
                self.retries += 1;
                return Ok(());
            }
            Err(errno) => {
                self.work = self.after_error(errno);
                return Ok(());
            }
        };
        self.retries = 0;
        self.work = match self.work.clone() {
            // The image ends before the disk: somebody has cut it off.
            Work::Move { .. } | Work::Ranges { how: How::ByHand, .. } if done == 0 => {
                Work::End(Status::IoError)
            }
            Work::Move { direction, offset, mut rest } => {
                if direction == Direction::Read {
                    transfer.settle(&self.chain, self.start, done as usize)?;
                }
                rest.start = rest.start.saturating_add(done).min(rest.end);
                Work::Move { direction, offset: offset + u64::from(done), rest }
            }
            Work::Ranges { at, how: How::ByHand } => {
                let range = &mut self.ranges[at];
                let done = u64::from(done).min(range.len);
                range.offset += done;
                range.len -= done;
                Work::Ranges { at, how: How::ByHand }
            }
            Work::Ranges { at, .. } => self.range(at + 1),
            Work::Sync | Work::End(_) => Work::End(Status::Ok),
        };
        Ok(())
    }

    /// What remains when the host refuses an operation.
    fn after_error(&self, errno: Errno) -> Work {
        // Block devices call it invalid when it does not fit their blocks.
        let unknown = matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL);
        match self.work {
            Work::Ranges { at, how } if unknown => match (self.ranges[at].fate, how) {
                // A discard is a hint.
                (Fate::Discarded, _) => self.range(at + 1),
                (_, How::Deallocate) => Work::Ranges { at, how: How::Zero },
                (_, How::Zero) => Work::Ranges { at, how: How::ByHand },
                (_, How::ByHand) => Work::End(Status::IoError),
            },
            _ => Work::End(Status::IoError),
        }
    }

    /// The best way for the range at this place.
    fn range(&self, at: usize) -> Work {
        let keeps = self.ranges.get(at).is_some_and(|range| range.fate == Fate::Zeroed);
        Work::Ranges { at, how: if keeps { How::Zero } else { How::Deallocate } }
    }

    fn move_bytes(
        &mut self,
        direction: Direction,
        offset: u64,
        rest: Range<u32>,
        rules: &Rules,
    ) -> Result<Step, Malformed> {
        let guarded = rules.guard == Guard::FirstBytes
            && direction == Direction::Write
            && offset < u64::from(SECTOR);
        // What is checked must be what is written, whatever the guest does to its memory meanwhile.
        let reach = if guarded { Reach::Private } else { rules.reach };
        self.start = rest.start;
        let Some(transfer) = &mut self.transfer else { return Ok(self.fail()) };
        let gathered = transfer.gather(&self.chain, direction, rest, offset, reach)?;
        if guarded && (offset > 0 || transfer.bounce_mut().starts_with(&MAGIC)) {
            tracing::warn!(
                "a guest's write that makes its raw disk look like a qcow2 image is refused; image_type=raw allows it"
            );
            return Ok(self.fail());
        }
        let action = match direction {
            Direction::Read => Action::Read,
            Direction::Write => Action::Write,
        };
        Ok(Step::Submit(operation(action, offset, gathered)))
    }

    fn zero(&mut self, range: DiskRange, how: How, rules: &Rules) -> Step {
        let DiskRange { offset, len, .. } = range;
        let action = match how {
            How::Deallocate => Action::Deallocate,
            How::Zero => Action::Zero,
            How::ByHand => {
                let Some(transfer) = &mut self.transfer else { return self.fail() };
                return Step::Submit(operation(
                    Action::Write,
                    offset,
                    transfer.zeros(len, offset, rules.reach),
                ));
            }
        };
        Step::Submit(Operation { action, offset, len, via: Via::Cache })
    }

    fn identify(&self, rules: &Rules, memory: &GuestMemory) -> Result<Status, Malformed> {
        let room = self.chain.writable_len().saturating_sub(1);
        let serial = &rules.serial[..SERIAL.min(room as usize)];
        self.chain.write(memory, 0, serial)?;
        Ok(Status::Ok)
    }

    fn fail(&mut self) -> Step {
        self.work = Work::End(Status::IoError);
        Step::Finish(Status::IoError)
    }
}

fn operation(action: Action, offset: u64, gathered: Gathered) -> Operation {
    Operation { action, offset, len: gathered.len.into(), via: gathered.via }
}
