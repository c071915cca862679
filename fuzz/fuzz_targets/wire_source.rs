//! Any destination, and the source's end of a migration. Nothing panics or hangs, memory stays bounded; the source ends its
//! VM only when it was told that it was committed, and otherwise has it as it was, or standing still and in doubt.
#![no_main]
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use migration::engine::postcopy::MemoryMode;
use migration::engine::{Handle, Options, Sent, SourceVm, Strategy, VmError, send};
use migration::memory::{PageSet, SourceMemory};
use migration::testing::ModelMemory;
use migration::wire::{
    Capabilities, Compression, Frame, Mark, Message, PROTOCOL_VERSION, Phase, Rehearsal,
};

mod bounded;
mod canned;

use canned::{Canned, End};

/// Frames of 1 MiB in and out, and what is to be sent.
const BYTES: usize = 16 << 20;

#[derive(Debug, Arbitrary)]
enum Said {
    Welcome {
        version: u16,
        capabilities: u32,
    },
    WelcomeRight,
    Built(Option<(u64, u64, u64)>),
    RoundDone {
        round: u32,
    },
    /// The answers up to the commit.
    AllRight,
    /// The same, and to it, where memory comes after the VM.
    AllLazily {
        rounds: u8,
    },
    Ready {
        setup: u64,
    },
    Committed,
    Refused(String),
    Commit,
    Mark {
        round: u32,
    },
    Need {
        page: u64,
    },
    Beat,
    Arrived,
    Raw(Vec<u8>),
}

/// A VM that is held as long as one of these is there.
struct Still(Rc<Cell<bool>>);

impl Drop for Still {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

struct Vm {
    memory: ModelMemory,
    is_running: Rc<Cell<bool>>,
    has_disks: bool,
    is_ended: bool,
}

impl SourceVm for Vm {
    type Memory = ModelMemory;
    type Still = Still;

    fn memory(&self) -> &ModelMemory {
        &self.memory
    }

    fn config(&self) -> Vec<u8> {
        vec![]
    }

    fn start_dirty_log(&mut self) -> Result<(), VmError> {
        Ok(())
    }

    fn dirty(&mut self) -> Result<PageSet, VmError> {
        Ok(PageSet::all(SourceMemory::layout(&self.memory)))
    }

    fn stop_dirty_log(&mut self) {}

    fn throttle(&mut self, _: u8) {}

    fn pause(&mut self) -> Result<Still, VmError> {
        self.is_running.set(false);
        Ok(Still(Rc::clone(&self.is_running)))
    }

    fn phase(&self, _: &Still) -> Phase {
        Phase::Running
    }

    fn last_dirty(&mut self, _: &Still) -> Result<PageSet, VmError> {
        Ok(PageSet::empty(SourceMemory::layout(&self.memory)))
    }

    fn save(&mut self, _: &Still) -> Result<Vec<u8>, VmError> {
        Ok(vec![1, 2, 3])
    }

    fn release_disks(&mut self, _: &Still) -> Result<(), VmError> {
        self.has_disks = false;
        Ok(())
    }

    fn retake_disks(&mut self, _: &Still) -> Result<(), VmError> {
        self.has_disks = true;
        Ok(())
    }

    fn lend_memory(&self) -> Result<Box<dyn SourceMemory + Send>, VmError> {
        let memory = ModelMemory::of_pages(4).ok_or("it can be")?;
        memory.fill(1, 1);
        Ok(Box::new(memory))
    }

    fn end(&mut self, still: Still) {
        self.is_ended = true;
        std::mem::forget(still);
    }
}

fuzz_target!(|input: (u8, Vec<Said>, Vec<Said>, Option<u8>)| {
    let (end, said, asked, rounds) = (End::of(input.0), input.1, input.2, input.3);
    let memory = ModelMemory::of_pages(4).expect("it can be");
    memory.fill(1, 1);
    let is_running = Rc::new(Cell::new(true));
    let mut vm =
        Vm { memory, is_running: Rc::clone(&is_running), has_disks: true, is_ended: false };
    let hour = Duration::from_secs(3600);
    let options = Options {
        // What may come after the VM does.
        downtime: if rounds.is_some() { Duration::ZERO } else { hour },
        timeout: hour,
        strategy: Strategy::Cancel,
        memory: rounds.map_or(MemoryMode::PreCopy, |rounds| MemoryMode::PostCopy {
            rounds: (rounds % 3).into(),
        }),
        compression: Compression::Lz4,
        patience: end.patience(),
    };
    let canned = |said: &[Said]| Canned::new(bytes(said), end);
    let mut transports = vec![canned(&said)];
    if rounds.is_some() {
        // Requests come over the second one.
        transports.extend([canned(&asked), canned(&[]), canned(&[])]);
    }
    let is_committed = said
        .iter()
        .any(|one| matches!(one, Said::Committed | Said::AllLazily { .. } | Said::Raw(_)));
    bounded::within(BYTES, || {
        let sent = send(&mut vm, transports, &options, &Handle::new());
        match &sent {
            Sent::Completed(_) => assert!(is_committed && vm.is_ended && !is_running.get()),
            Sent::Restored(_) => assert!(!vm.is_ended && is_running.get() && vm.has_disks),
            Sent::InDoubt { .. } => assert!(!vm.is_ended && !is_running.get()),
            Sent::Stranded { .. } => {
                assert!(rounds.is_some() && is_committed && !vm.is_ended && !is_running.get());
            }
        }
    });
});

fn bytes(said: &[Said]) -> Vec<u8> {
    let mut to = Vec::new();
    for one in said {
        let mut say = |message| drop(Frame::Message(message).encode(&mut to));
        let welcome = |version, capabilities| Message::Welcome {
            version,
            capabilities: Capabilities(capabilities),
        };
        match one {
            Said::Welcome { version, capabilities } => say(welcome(*version, *capabilities)),
            Said::WelcomeRight => say(welcome(PROTOCOL_VERSION, Capabilities::ALL.0)),
            Said::Built(rehearsal) => {
                let rehearsal =
                    rehearsal.map(|(save, setup, state)| Rehearsal { save, setup, state });
                say(Message::Built { rehearsal });
            }
            Said::RoundDone { round } => say(Message::RoundDone { round: *round }),
            Said::AllRight => {
                say(welcome(PROTOCOL_VERSION, 1));
                say(Message::Built { rehearsal: None });
                say(Message::RoundDone { round: 0 });
                say(Message::RoundDone { round: 1 });
                say(Message::Ready { setup: 1 });
            }
            Said::AllLazily { rounds } => {
                say(welcome(PROTOCOL_VERSION, Capabilities::ALL.0));
                say(Message::Built { rehearsal: None });
                (0..=u32::from(*rounds % 3)).for_each(|round| say(Message::RoundDone { round }));
                say(Message::Ready { setup: 1 });
                say(Message::Committed);
            }
            Said::Need { page } => say(Message::Need { page: *page }),
            Said::Beat => say(Message::Beat),
            Said::Arrived => say(Message::Arrived),
            Said::Ready { setup } => say(Message::Ready { setup: *setup }),
            Said::Committed => say(Message::Committed),
            Said::Refused(reason) => say(Message::Refused { reason: reason.clone().into() }),
            Said::Commit => say(Message::Commit),
            Said::Mark { round } => {
                drop(Frame::Mark(Mark { round: *round, is_last: false }).encode(&mut to));
            }
            Said::Raw(raw) => to.extend(raw),
        }
    }
    to
}
