//! A migration from end to end, and what has to be true when it is over.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use migration::engine::{MigrationError, Options, Sent, Strategy, receive, send};
use migration::memory::{Layout, Region};
use migration::wire::{Compression, Phase, Rehearsal};
use vcpu_state::sync::atomic::Ordering;

use crate::guest::{Guest, Program};
use crate::link::Link;
use crate::model::{Destination, Source, Still, Trouble};
use crate::world::{DESTINATION, NOBODY, SOURCE, World};

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Source,
    Destination,
}

/// What is migrated, and what goes wrong.
#[derive(Debug, Clone)]
pub struct Setup {
    pub program: Program,
    pub phase: Phase,
    pub connections: usize,
    pub options: Options,
    pub step: usize,
    /// Whose sending over which connection breaks after how many bytes.
    pub cut: Option<(End, usize, u64)>,
    pub source: Trouble,
    pub destination: Trouble,
    pub cancel_at_throttle: Option<u8>,
    pub first_pause: Duration,
    pub rehearsal: Option<Rehearsal>,
}

impl Setup {
    pub fn new() -> Self {
        let hour = Duration::from_hours(1);
        Self {
            program: Program { seed: 7, writes: 2, hot_pages: 40 },
            phase: Phase::Running,
            connections: 1,
            // After the first round: everything may take as long as it likes.
            options: Options {
                downtime: hour,
                timeout: hour,
                strategy: Strategy::Cancel,
                compression: Compression::None,
                patience: Duration::from_mins(1),
            },
            step: usize::MAX,
            cut: None,
            source: Trouble::None,
            destination: Trouble::None,
            cancel_at_throttle: None,
            first_pause: Duration::ZERO,
            rehearsal: None,
        }
    }
}

/// The end of it.
pub struct Ended {
    pub sent: Sent<Still>,
    pub received: Result<(), MigrationError>,
    pub source: Source,
    pub destination: Destination,
    pub world: Arc<World>,
    /// Bytes that each end sent over each connection.
    pub carried: Vec<(End, usize, u64)>,
}

pub fn layout() -> Layout {
    let region = |gpa, pages| Region { gpa, pages };
    Layout::new(vec![region(0, 60), region(4 << 30, 36)]).expect("it can be")
}

pub fn migrate(setup: &Setup) -> Ended {
    let world = Arc::new(World::default());
    let guest = Guest::new(&layout(), setup.program);
    let mut source = Source::new(&world, guest, setup.phase, setup.source);
    source.cancel_at_throttle = setup.cancel_at_throttle;
    source.first_pause = setup.first_pause;
    let mut destination = Destination::new(&world, &layout(), setup.destination);
    destination.rehearsal = setup.rehearsal;
    let (mut here, mut there, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..setup.connections {
        let (near, far) = UnixStream::pair().expect("the host has sockets");
        for (end, stream, links) in
            [(End::Source, near, &mut here), (End::Destination, far, &mut there)]
        {
            let cut = setup.cut.filter(|(at, which, _)| (*at, *which) == (end, index));
            let link = Link::new(stream, cut.map(|(_, _, bytes)| bytes), setup.step);
            counts.push((end, index, link.carried()));
            links.push(link);
        }
    }
    // The first connection comes first, the others in any order.
    there[1..].reverse();
    let mut there = there.into_iter();
    let patience = setup.options.patience;
    let (sent, received) = thread::scope(|scope| {
        let destination = &mut destination;
        let receiving = scope.spawn(move || {
            let accept = || there.next().ok_or(std::io::ErrorKind::NotConnected.into());
            receive(destination, accept, patience)
        });
        let handle = Arc::clone(&source.handle);
        let sent = send(&mut source, here, &setup.options, &handle);
        (sent, receiving.join().expect("it does not panic"))
    });
    let carried = counts.into_iter().map(|(end, at, sent)| (end, at, sent.load(Ordering::Relaxed)));
    Ended { sent, received, source, destination, world, carried: carried.collect() }
}

/// How it ended, once everything is found in order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Completed,
    Restored,
    /// And whether the destination has the VM.
    InDoubt(bool),
}

impl Ended {
    /// Never two VMs run; one does, in its previous phase, or the source stands still and says so.
    pub fn check(&self, setup: &Setup) -> How {
        let is_running = u32::from(setup.phase == Phase::Running);
        let disks = self.world.disks.load(Ordering::Acquire);
        assert!(self.world.most() <= 1, "two VMs ran");
        let is_there = self.received.is_ok();
        assert_eq!(self.destination.started, is_there.then_some(setup.phase));
        assert_eq!(self.destination.is_discarded, !is_there);
        if is_there {
            let writes = self.source.guest.writes.load(Ordering::Acquire);
            assert_eq!(self.destination.restored, Some(writes));
            assert!(self.destination.memory.words() == self.source.guest.words(), "memory differs");
            assert_eq!((self.world.running(), disks), (is_running, DESTINATION));
        }
        match &self.sent {
            Sent::Completed(report) => {
                assert!(is_there && self.source.is_ended);
                assert!(report.downtime.total() <= report.total);
                How::Completed
            }
            Sent::Restored(_) => {
                assert!(!is_there && !self.source.is_ended && !self.source.is_logging);
                assert_eq!((self.world.running(), disks), (is_running, SOURCE));
                assert!(self.source.throttles.last().is_none_or(|last| *last == 0));
                How::Restored
            }
            Sent::InDoubt { .. } => {
                assert!(!self.source.is_ended);
                if !is_there {
                    assert_eq!((self.world.running(), disks), (0, NOBODY));
                }
                How::InDoubt(is_there)
            }
        }
    }
}
