//! Sources that do not keep to the protocol: the destination ends, and has started nothing.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use migration::engine::{MigrationError, receive};
use migration::memory::{PAGE_SIZE, Region};
use migration::wire::{
    Capabilities, Compression, Connection, Frame, Mark, Message, PROTOCOL_VERSION, Pages, Phase,
    Session, WireError,
};

use crate::bed::layout;
use crate::model::{CONFIG, Destination, Trouble};
use crate::world::World;

const PATIENCE: Duration = Duration::from_mins(1);
const SESSION: Session = Session([9; 16]);
static PAGE: [u8; PAGE_SIZE] = [7; PAGE_SIZE];

fn hello(connections: u16) -> Message {
    let (min_version, max_version) = (PROTOCOL_VERSION, PROTOCOL_VERSION);
    let capabilities = Capabilities::ALL;
    Message::Hello { min_version, max_version, session: SESSION, capabilities, connections }
}

fn describe() -> Message {
    Message::Describe { regions: layout().regions().to_vec(), config: CONFIG.to_vec() }
}

fn page(round: u32, first: u64) -> Frame<'static> {
    Frame::Data(Pages { round, first, count: 1 }, Compression::None, &PAGE)
}

fn mark(round: u32, is_last: bool) -> Frame<'static> {
    Frame::Mark(Mark { round, is_last })
}

fn says(message: Message) -> Frame<'static> {
    Frame::Message(message)
}

/// What the destination makes of frames on its connections, all of them sent at once.
fn told(connections: Vec<Vec<Frame<'static>>>) -> (Result<(), MigrationError>, Destination) {
    let world = Arc::new(World::default());
    let mut destination = Destination::new(&world, &layout(), Trouble::None);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for frames in connections {
        let (near, far) = UnixStream::pair().expect("the host has sockets");
        let mut connection = Connection::new(near, PATIENCE);
        for frame in &frames {
            connection.queue(frame).expect("it is a frame");
        }
        connection.flush().expect("it has room");
        ours.push(connection);
        theirs.push(far);
    }
    let mut theirs = theirs.into_iter();
    let accept = || theirs.next().ok_or(std::io::ErrorKind::NotConnected.into());
    let result = thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&mut destination, accept, PATIENCE));
        // Hears everything, and then hangs up.
        let control = &mut ours[0];
        while control.receive("anything").is_ok() {}
        ours.clear();
        receiving.join().expect("it does not panic")
    });
    (result, destination)
}

/// Whether the destination found that a frame may not come then.
fn refuses(connections: Vec<Vec<Frame<'static>>>) {
    let (result, destination) = told(connections);
    let error = result.expect_err("it lies");
    let is_refusal = matches!(
        error,
        MigrationError::Wire(WireError::Unexpected { .. } | WireError::Malformed { .. })
    );
    assert!(is_refusal, "{error}");
    assert!(destination.is_discarded && destination.started.is_none());
}

#[test]
fn a_page_of_a_round_that_is_not_open_is_refused() {
    let marked = || vec![says(hello(1)), says(describe()), page(0, 1), mark(0, false)];
    // A round that is over, and one that comes before the source has asked for the end of the one before.
    refuses(vec![[marked(), vec![page(0, 1)]].concat_frames()]);
    refuses(vec![[marked(), vec![page(1, 1)]].concat_frames()]);
}

trait ConcatFrames {
    fn concat_frames(self) -> Vec<Frame<'static>>;
}

impl<const N: usize> ConcatFrames for [Vec<Frame<'static>>; N] {
    fn concat_frames(self) -> Vec<Frame<'static>> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn frames_out_of_their_order_are_refused() {
    let built = || vec![says(hello(1)), says(describe())];
    let filled = || {
        [built(), vec![page(0, 1), mark(0, true), says(Message::RoundEnd { round: 0 })]]
            .concat_frames()
    };
    let prepare = || says(Message::Prepare { phase: Phase::Running });
    refuses(vec![vec![says(Message::Commit)]]);
    refuses(vec![vec![says(hello(1)), says(Message::Commit)]]);
    refuses(vec![[built(), vec![says(Message::Commit)]].concat_frames()]);
    refuses(vec![[built(), vec![says(Message::RoundEnd { round: 0 })]].concat_frames()]);
    refuses(vec![
        [built(), vec![mark(0, false), says(Message::RoundEnd { round: 7 })]].concat_frames(),
    ]);
    refuses(vec![[built(), vec![Frame::State(b"x")]].concat_frames()]);
    refuses(vec![[filled(), vec![page(1, 1)]].concat_frames()]);
    refuses(vec![[filled(), vec![prepare()]].concat_frames()]);
    refuses(vec![[filled(), vec![says(Message::Commit)]].concat_frames()]);
}

#[test]
fn pages_and_memory_that_the_vm_does_not_have_are_refused() {
    let built = || vec![says(hello(1)), says(describe())];
    refuses(vec![[built(), vec![page(0, layout().pages())]].concat_frames()]);
    let nowhere = Pages { round: 0, first: u64::MAX, count: u64::MAX };
    refuses(vec![[built(), vec![Frame::Zeros(nowhere)]].concat_frames()]);
    let huge = vec![Region { gpa: 0, pages: 1 << 39 }];
    let other = says(Message::Describe { regions: huge, config: CONFIG.to_vec() });
    let (result, _) = told(vec![vec![says(hello(1)), other]]);
    assert!(matches!(result.unwrap_err(), MigrationError::OtherLayout));
}

#[test]
fn strangers_and_other_versions_are_refused() {
    let stranger = vec![says(Message::Join { session: Session([1; 16]), index: 1 })];
    refuses(vec![vec![says(hello(2))], stranger]);
    let zeroth = vec![says(Message::Join { session: SESSION, index: 0 })];
    let (result, _) = told(vec![vec![says(hello(2))], zeroth]);
    assert!(matches!(result.unwrap_err(), MigrationError::Connections(0)));
    let (result, _) = told(vec![vec![says(hello(1000))]]);
    assert!(matches!(result.unwrap_err(), MigrationError::Connections(1000)));
    let capabilities = Capabilities::ALL;
    let newer = Message::Hello {
        min_version: PROTOCOL_VERSION + 1,
        max_version: u16::MAX,
        session: SESSION,
        capabilities,
        connections: 1,
    };
    let (result, _) = told(vec![vec![says(newer)]]);
    let error = result.unwrap_err();
    assert!(matches!(error, MigrationError::Wire(WireError::Version { .. })), "{error}");
}
