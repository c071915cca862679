//! A migration from end to end. What has to be true when it is over is in `verdict`.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use migration::engine::postcopy::MemoryMode;
use migration::engine::{MigrationError, Options, Sent, Strategy, receive, send, send_local};
use migration::memory::{Layout, Region};
use migration::wire::{Compression, Phase, Rehearsal, Transport};
use vcpu_state::sync::atomic::{AtomicU64, Ordering};

use crate::guest::{Guest, Program};
use crate::link::Link;
use crate::model::{Destination, Source, Still, Trouble};
use crate::world::World;

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
    /// After how many pages that it has touched the user ends the VM at the destination.
    pub ends_after: Option<u64>,
    /// Whether the destination takes the memory over.
    pub local: bool,
    pub rehearsal: Option<Rehearsal>,
    /// How many disks the source has besides the usual.
    pub more_disks: usize,
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
                memory: MemoryMode::PreCopy,
                compression: Compression::None,
                patience: Duration::from_mins(1),
            },
            step: usize::MAX,
            cut: None,
            source: Trouble::None,
            destination: Trouble::None,
            cancel_at_throttle: None,
            first_pause: Duration::ZERO,
            ends_after: None,
            local: false,
            rehearsal: None,
            more_disks: 0,
        }
    }

    /// Memory goes after the VM, after so many rounds.
    pub fn postponed(mut self, rounds: u32) -> Self {
        self.connections = 4;
        // No downtime is short enough: pre-copy would go on for ever.
        self.options.downtime = Duration::ZERO;
        self.options.memory = MemoryMode::PostCopy { rounds };
        self
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

/// Both ends of each connection, and what each end sends over which.
type Connections = (Vec<Link>, Vec<Link>, Vec<(End, usize, Arc<AtomicU64>)>);

fn connect(setup: &Setup) -> Connections {
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
    (here, there, counts)
}

pub fn migrate(setup: &Setup) -> Ended {
    let world = Arc::new(World::default());
    let guest = Guest::new(&layout(), setup.program);
    let mut source = Source::new(&world, guest, setup.phase, setup.source);
    source.cancel_at_throttle = setup.cancel_at_throttle;
    source.first_pause = setup.first_pause;
    source.more_disks = setup.more_disks;
    let mut destination = Destination::new(&world, &layout(), setup.destination);
    destination.ends_after = setup.ends_after;
    destination.neighbour = setup.local.then(|| Arc::clone(&source.guest));
    destination.rehearsal = setup.rehearsal;
    let (mut here, mut there, counts) = connect(setup);
    let interrupters =
        |links: &[Link]| links.iter().map(Transport::interrupter).collect::<Result<_, _>>();
    let handle = Arc::clone(source.handle());
    source.asks.reach(&handle, interrupters(&here).expect("the host has descriptors"));
    destination.asks.reach(&handle, interrupters(&there).expect("the host has descriptors"));
    // The first connection comes first, the others in any order.
    there[1..].reverse();
    let mut there = there.into_iter();
    let patience = setup.options.patience;
    let (sent, received) = thread::scope(|scope| {
        let destination = &mut destination;
        let receiving = scope.spawn(move || {
            let accept = || there.next().ok_or(std::io::ErrorKind::NotConnected.into());
            let received = receive(destination, accept, patience);
            destination.asks.let_go();
            received
        });
        let sent = match here.pop() {
            Some(link) if setup.local => send_local(&mut source, link, &setup.options, &handle),
            last => {
                here.extend(last);
                send(&mut source, here, &setup.options, &handle)
            }
        };
        source.asks.let_go();
        (sent, receiving.join().expect("it does not panic"))
    });
    if let Some(toucher) = destination.toucher.take() {
        toucher.join().expect("it does not panic");
    }
    let carried = counts.into_iter().map(|(end, at, sent)| (end, at, sent.load(Ordering::Relaxed)));
    Ended { sent, received, source, destination, world, carried: carried.collect() }
}
