//! Any source, and the destination's end of a migration: frames in any order with any contents, and bytes that are none.
//! Nothing panics or hangs, memory stays bounded, and the VM starts only when its state was restored and a commit came.
#![no_main]
use std::io;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use migration::engine::{DestinationVm, VmError, receive};
use migration::memory::{DestinationMemory, Layout, Region};
use migration::testing::ModelMemory;
use migration::wire::{
    Capabilities, Compression, Frame, Mark, Message, Pages, Phase, Rehearsal, Session,
};

mod bounded;
mod canned;

use canned::{Canned, End};

/// Frames of 1 MiB in and out, unpacked once, on a few connections.
const BYTES: usize = 16 << 20;

#[derive(Debug, Arbitrary)]
enum Said {
    Hello {
        min: u16,
        max: u16,
        connections: u16,
    },
    Join {
        index: u16,
    },
    Describe {
        pages: u64,
    },
    /// Describes the VM that there is.
    DescribeRight,
    RoundEnd {
        round: u32,
    },
    State {
        bytes: u64,
        crc: u32,
    },
    /// A state of so many bytes, and its bytes.
    StateRight(Vec<u8>),
    Prepare {
        is_paused: bool,
    },
    Commit,
    Abort(String),
    Data {
        round: u32,
        first: u64,
        count: u64,
        compression: u8,
        body: Vec<u8>,
    },
    /// A page that fits.
    Page {
        round: u8,
        first: u8,
    },
    Zeros {
        round: u32,
        first: u64,
        count: u64,
    },
    Mark {
        round: u32,
        is_last: bool,
    },
    StatePart(Vec<u8>),
    Raw(Vec<u8>),
}

struct Vm {
    memory: ModelMemory,
    is_restored: bool,
    has_disks: bool,
    is_started: bool,
}

impl DestinationVm for Vm {
    type Memory = ModelMemory;

    fn build(&mut self, _: &[u8]) -> Result<(&ModelMemory, Option<Rehearsal>), VmError> {
        Ok((&self.memory, None))
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), VmError> {
        self.is_restored = true;
        Ok(())
    }

    fn take_disks(&mut self) -> Result<(), VmError> {
        assert!(self.is_restored);
        self.has_disks = true;
        Ok(())
    }

    fn start(&mut self, _: Phase) -> Result<(), VmError> {
        assert!(self.has_disks);
        self.is_started = true;
        Ok(())
    }

    fn discard(&mut self) {
        assert!(!self.is_started);
    }
}

fuzz_target!(|input: (u8, Vec<Vec<Said>>)| {
    let (end, said) = (End::of(input.0), input.1);
    let memory = ModelMemory::of_pages(4).expect("it can be");
    let is_commit_there =
        said.first().into_iter().flatten().any(|one| matches!(one, Said::Commit | Said::Raw(_)));
    let layout = DestinationMemory::layout(&memory).clone();
    let bytes: Vec<_> = said.iter().map(|said| bytes(said, &layout)).collect();
    let mut connections = bytes.into_iter().map(|bytes| Canned::new(bytes, end));
    let mut vm = Vm { memory, is_restored: false, has_disks: false, is_started: false };
    bounded::within(BYTES, || {
        let accept = || connections.next().ok_or(io::ErrorKind::NotConnected.into());
        let received = receive(&mut vm, accept, end.patience());
        assert_eq!(received.is_ok(), vm.is_started);
    });
    assert!(!vm.is_started || is_commit_there);
});

fn bytes(said: &[Said], layout: &Layout) -> Vec<u8> {
    let mut to = Vec::new();
    let session = Session([0; 16]);
    let page = [0x5A; 4096];
    for one in said {
        let mut add = |frame: &Frame<'_>| drop(frame.encode(&mut to));
        let mut say = |message| add(&Frame::Message(message));
        match one {
            Said::Hello { min: min_version, max: max_version, connections } => {
                say(Message::Hello {
                    min_version: *min_version,
                    max_version: *max_version,
                    session,
                    capabilities: Capabilities::ALL,
                    connections: *connections,
                })
            }
            Said::Join { index } => say(Message::Join { session, index: *index }),
            Said::Describe { pages } => {
                let regions = vec![Region { gpa: 0, pages: *pages }];
                say(Message::Describe { regions, config: vec![] });
            }
            Said::DescribeRight => {
                say(Message::Describe { regions: layout.regions().to_vec(), config: vec![] });
            }
            Said::RoundEnd { round } => say(Message::RoundEnd { round: *round }),
            Said::State { bytes, crc } => say(Message::State { bytes: *bytes, crc: *crc }),
            Said::StateRight(state) => {
                let crc = crc32c::crc32c(state);
                say(Message::State { bytes: state.len() as u64, crc });
                add(&Frame::State(state));
            }
            Said::Prepare { is_paused } => {
                let phase = if *is_paused { Phase::Paused } else { Phase::Running };
                say(Message::Prepare { phase });
            }
            Said::Commit => say(Message::Commit),
            Said::Abort(reason) => say(Message::Abort { reason: reason.clone().into() }),
            Said::Data { round, first, count, compression, body } => {
                let compression = match compression % 3 {
                    0 => Compression::None,
                    1 => Compression::Lz4,
                    _ => Compression::Zstd,
                };
                let pages = Pages { round: *round, first: *first, count: *count };
                add(&Frame::Data(pages, compression, body));
            }
            Said::Page { round, first } => {
                let pages = Pages { round: (*round).into(), first: (first % 4).into(), count: 1 };
                add(&Frame::Data(pages, Compression::None, &page));
            }
            Said::Zeros { round, first, count } => {
                add(&Frame::Zeros(Pages { round: *round, first: *first, count: *count }));
            }
            Said::Mark { round, is_last } => {
                add(&Frame::Mark(Mark { round: *round, is_last: *is_last }));
            }
            Said::StatePart(part) => add(&Frame::State(part)),
            Said::Raw(raw) => to.extend(raw),
        }
    }
    to
}
