//! disk-lock-handback (CH #7111).
//!
//! Mechanism: the source gives its disks' locks up when it has sent the VM. The destination fails afterwards; the source lets its VM go on without
//! the locks, and whoever takes them has the disks beside it.
//!
//! Invariant: ownership moves in two phases. The source gives the locks up when the destination is ready and its cancel cannot come any more, the
//! destination takes them before it starts and gives them up before it refuses, and a source that keeps its VM takes them back first.

use std::sync::Arc;

use migration::engine::Gate;
use migration::engine::phase::{DestinationEvent, DestinationPhase, SourceEvent, SourcePhase};

use crate::checker::atomic::{AtomicBool, Ordering};
use crate::checker::{join, thread};
use crate::model::{Bound, Finding, Model};
use crate::monitor::Monitor;

/// The pair.
pub const MODEL: Model = Model::race("disk-lock-handback", historic, FINDING, ours)
    .explored(Bound::Preemptions(2), Bound::Preemptions(3));

const FINDING: Finding = Finding::Violation("a VM runs without its disks' locks");

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Ready,
    Commit,
    Abort,
    Committed,
    Refused,
}

/// What both ends share: the disks, and a link in each direction.
struct World {
    locks: Option<End>,
    runs: Option<End>,
    to_source: Option<Message>,
    to_destination: Option<Message>,
}

impl World {
    fn with(locks: End) -> Arc<Monitor<Self>> {
        let (runs, to_source, to_destination) = (None, None, None);
        Arc::new(Monitor::new(Self { locks: Some(locks), runs, to_source, to_destination }))
    }

    fn run(&mut self, end: End) {
        assert!(self.runs.is_none(), "both VMs run");
        assert!(self.locks == Some(end), "a VM runs without its disks' locks");
        self.runs = Some(end);
    }
}

fn historic() {
    let world = World::with(End::Source);
    let destination = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            drop(world.wait_until(|world| world.locks.is_none()));
            world.change(|world| world.locks = Some(End::Destination));
            // It cannot start, and says so.
            world.change(|world| world.to_source = Some(Message::Refused));
        })
    };
    world.change(|world| world.locks = None);
    drop(world.wait_until(|world| world.to_source.is_some()));
    world.change(|world| world.run(End::Source));
    join(destination);
}

/// The source, from where all was sent. Whether its VM is gone.
fn source(world: &Monitor<World>, gate: &Gate) -> SourcePhase {
    let mut phase = SourcePhase::Handing;
    let mut on = |event| {
        phase = match phase.after(event) {
            Ok(phase) => phase,
            Err(error) => panic!("{error}"),
        };
        phase
    };
    assert!(world.wait_until(|world| world.to_source.is_some()).to_source.take().is_some());
    if !gate.commit() {
        let phase = on(SourceEvent::Cancelled);
        assert!(phase.may_run());
        world.change(|world| {
            world.to_destination = Some(Message::Abort);
            world.run(End::Source);
        });
        return phase;
    }
    world.change(|world| world.locks = None);
    assert!(!on(SourceEvent::Ready).may_run());
    world.change(|world| world.to_destination = Some(Message::Commit));
    let answer = world.wait_until(|world| world.to_source.is_some()).to_source.take();
    if answer == Some(Message::Committed) {
        return on(SourceEvent::Acknowledged);
    }
    let phase = on(SourceEvent::Refused);
    world.change(|world| {
        assert!(world.locks.is_none(), "the locks are taken");
        world.locks = Some(End::Source);
        world.run(End::Source);
    });
    phase
}

/// The destination, from where all is there.
fn destination(world: &Monitor<World>, fails: &AtomicBool) -> DestinationPhase {
    let mut phase = DestinationPhase::Receiving;
    let mut on = |event| {
        phase = match phase.after(event) {
            Ok(phase) => phase,
            Err(error) => panic!("{error}"),
        };
        phase
    };
    on(DestinationEvent::Prepared);
    world.change(|world| world.to_source = Some(Message::Ready));
    let heard = world.wait_until(|world| world.to_destination.is_some()).to_destination.take();
    if heard != Some(Message::Commit) {
        return on(DestinationEvent::Lost);
    }
    world.change(|world| {
        assert!(world.locks.is_none(), "the locks are taken");
        world.locks = Some(End::Destination);
    });
    if fails.load(Ordering::Acquire) {
        let phase = on(DestinationEvent::Lost);
        world.change(|world| world.locks = None);
        world.change(|world| world.to_source = Some(Message::Refused));
        return phase;
    }
    world.change(|world| world.run(End::Destination));
    let phase = on(DestinationEvent::Committed);
    world.change(|world| world.to_source = Some(Message::Committed));
    phase
}

fn ours() {
    let world = World::with(End::Source);
    let gate = Arc::new(Gate::default());
    let fails = Arc::new(AtomicBool::new(false));
    let receiver = {
        let (world, fails) = (Arc::clone(&world), Arc::clone(&fails));
        thread::spawn(move || destination(&world, &fails))
    };
    let operator = {
        let gate = Arc::clone(&gate);
        thread::spawn(move || {
            fails.store(true, Ordering::Release);
            gate.cancel().is_ok()
        })
    };
    let (sent, received) = (source(&world, &gate), join(receiver));
    let cancelled = join(operator);
    let runs = world.lock().runs;
    let expected = if sent.may_run() { End::Source } else { End::Destination };
    assert!(runs == Some(expected), "nobody runs, or the wrong one");
    assert!(sent.may_run() != received.may_run(), "{sent:?} and {received:?}");
    assert!(!cancelled || sent.may_run(), "a cancelled migration went on");
}
