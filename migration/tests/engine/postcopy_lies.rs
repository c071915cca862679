//! Peers that do not keep to the protocol of post-copy.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use migration::engine::postcopy::POSTPONED;
use migration::engine::{MigrationError, receive};
use migration::memory::PAGE_SIZE;
use migration::wire::{
    Capabilities, Compression, Connection, Frame, Mark, Message, PROTOCOL_VERSION, Pages, Phase,
    Session,
};

use crate::bed::layout;
use crate::model::{CONFIG, Destination, Trouble, state_of_nothing};
use crate::world::World;

const PATIENCE: Duration = Duration::from_mins(1);
const SESSION: Session = Session([9; 16]);
static PAGE: [u8; 8 * PAGE_SIZE] = [7; 8 * PAGE_SIZE];

fn pages(round: u32, first: u64, count: u64) -> Frame<'static> {
    let bytes = usize::try_from(count).expect("it is small") * PAGE_SIZE;
    Frame::Data(Pages { round, first, count }, Compression::None, &PAGE[..bytes])
}

fn mark(round: u32) -> Frame<'static> {
    Frame::Mark(Mark { round, is_last: true })
}

/// What becomes of a VM, of which pages 0, 1, 5 and 61 are missing, by what comes over the connection of urgent pages.
fn served(
    missing: Vec<(u64, u64)>,
    urgent: &[Frame<'_>],
) -> (Result<(), MigrationError>, Destination) {
    let world = Arc::new(World::default());
    let mut destination = Destination::new(&world, &layout(), Trouble::None);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (near, far) = UnixStream::pair().expect("the host has sockets");
        ours.push(Connection::new(near, PATIENCE));
        theirs.push(far);
    }
    let state = state_of_nothing();
    let mut theirs = theirs.into_iter();
    let accept = || theirs.next().ok_or(std::io::ErrorKind::NotConnected.into());
    let result = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&mut destination, accept, PATIENCE));
        let [control, requests, urgent_lane, other] = &mut ours[..] else { panic!("four") };
        let says = |control: &mut Connection<UnixStream>, message| control.send(message);
        let version = PROTOCOL_VERSION;
        let hello = Message::Hello {
            min_version: version,
            max_version: version,
            session: SESSION,
            capabilities: Capabilities::ALL,
            connections: 4,
        };
        says(control, hello).expect("it listens");
        for (lane, index) in [&mut *requests, &mut *urgent_lane, &mut *other].into_iter().zip(1..) {
            lane.send(Message::Join { session: SESSION, index }).expect("it listens");
        }
        let config = CONFIG.to_vec();
        let regions = layout().regions().to_vec();
        says(control, Message::Describe { regions, config }).expect("it listens");
        for lane in [&mut *control, &mut *requests, &mut *urgent_lane, &mut *other] {
            lane.queue(&mark(0)).and_then(|()| lane.flush()).expect("it listens");
        }
        let (bytes, crc) = (state.len() as u64, crc32c::crc32c(&state));
        let talk = || -> Result<(), migration::wire::WireError> {
            control.send(Message::RoundEnd { round: 0 })?;
            control.send(Message::State { bytes, crc })?;
            control.queue(&Frame::State(&state))?;
            control.send(Message::Missing { runs: missing })?;
            control.send(Message::Prepare { phase: Phase::Running })?;
            control.send(Message::Commit)?;
            for frame in urgent {
                urgent_lane.queue(frame)?;
            }
            urgent_lane.flush()?;
            other.queue(&mark(POSTPONED))?;
            other.flush()
        };
        // It may have hung up already.
        drop(talk());
        while control.receive("anything").is_ok() {}
        ours.clear();
        receiving.join().expect("it does not panic")
    });
    if let Some(toucher) = destination.toucher.take() {
        toucher.join().expect("it does not panic");
    }
    (result, destination)
}

fn missing() -> Vec<(u64, u64)> {
    vec![(0, 2), (5, 1), (61, 1)]
}

#[test]
fn every_missing_page_once_is_what_it_takes() {
    let good = [
        pages(POSTPONED, 5, 1),
        Frame::Message(Message::Beat),
        Frame::Zeros(Pages { round: POSTPONED, first: 0, count: 2 }),
        pages(POSTPONED, 61, 1),
        mark(POSTPONED),
    ];
    let (result, destination) = served(missing(), &good);
    result.expect("it keeps to the protocol");
    assert!(destination.started.is_some());
}

#[test]
fn pages_twice_unasked_nowhere_or_not_at_all_end_it() {
    let all = || [pages(POSTPONED, 0, 2), pages(POSTPONED, 5, 1), pages(POSTPONED, 61, 1)];
    let lies: [Vec<Frame<'static>>; 8] = [
        // Twice.
        vec![pages(POSTPONED, 0, 2), pages(POSTPONED, 1, 1)],
        // One that was not missing.
        vec![pages(POSTPONED, 0, 3)],
        vec![Frame::Zeros(Pages { round: POSTPONED, first: 7, count: 1 })],
        // One that there is not.
        vec![pages(POSTPONED, layout().pages(), 1)],
        vec![Frame::Zeros(Pages { round: POSTPONED, first: 61, count: u64::MAX - 60 })],
        // Of another round.
        vec![pages(0, 0, 2)],
        // Not all of them.
        all().into_iter().take(2).chain([mark(POSTPONED)]).collect(),
        // Something else.
        vec![Frame::Message(Message::Commit)],
    ];
    for lie in lies {
        let (result, destination) = served(missing(), &lie);
        let error = result.expect_err("it lies");
        match error {
            MigrationError::Interrupted { missing, .. } => {
                assert!(missing > 0 && destination.started.is_some());
                assert_eq!(destination.world.running(), 0);
            }
            _ => assert!(destination.started.is_none() && destination.is_discarded, "{error}"),
        }
    }
}

#[test]
fn missing_pages_that_there_are_not_or_out_of_order_are_refused() {
    let pages = layout().pages();
    for runs in [vec![], vec![(pages, 1)], vec![(0, 0)], vec![(3, u64::MAX)], vec![(5, 2), (6, 1)]]
    {
        let (result, destination) = served(runs.clone(), &[mark(POSTPONED)]);
        result.expect_err("it lies");
        assert!(destination.started.is_none() && destination.is_discarded, "{runs:?}");
    }
}
