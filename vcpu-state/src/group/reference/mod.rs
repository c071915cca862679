//! The group against a reference model: random programs of everything that pausers, the killer, the
//! owners and the manager can do, on one thread, with every word and count compared after each step.
//!
//! ```text
//!   Op ──▶ World ─┬─▶ Model        what must come of it ─┐
//!                 └─▶ Group, …     what comes of it  ────┴─▶ equal? and again after each step: every word,
//!                                                            every ack owed, every kick, every wake-up
//! ```
//! One thread cannot sleep and be woken, so a call that would sleep is not made: the thread's steps up to
//! there are taken, the generation that it would sleep on is noted, and from then on that generation must
//! have moved as soon as there is a reason to wake. The interleavings are the business of the models in
//! `loom-tests`; here it is about *what* each step does, in long programs.

#![expect(clippy::expect_used, reason = "a test ends where its premise fails")]

mod check;
mod model;
mod others;
mod owner;
mod seen;
mod world;

use proptest::prelude::*;

use crate::{OneShot, Word};
use world::World;

/// One step of one actor. A slot's number may be one too large; a holder's is taken modulo.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// Owner: does what its word tells it to.
    Step(usize),
    /// Owner, whether or not the word says so.
    Start(usize),
    Enter(usize),
    Park(usize, Epoch),
    BeginTicket(usize),
    WaitTicket(usize),
    Take(usize, OneShot),
    Die(usize),
    /// Worker.
    Complete(usize, End),
    /// Anyone.
    Ask(usize, OneShot),
    Kill(usize),
    KillAll,
    WaitDead,
    /// Manager.
    Reincarnate(usize),
    /// Pausers.
    Signal(Limit),
    Fill,
    Wait(usize),
    Release(usize, How),
    Wake(usize),
}

/// Which request an owner answers.
#[derive(Clone, Copy, Debug)]
enum Epoch {
    Newest,
    Older,
    Newer,
}

/// How the work behind a ticket ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Done,
    Failed,
    Dropped,
}

/// A pauser's deadline.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Never,
    Passed,
}

/// How a pauser lets go.
#[derive(Clone, Copy, Debug)]
enum How {
    Drop,
    Resume,
    /// Lets go, and wakes the sleepers later.
    Release,
}

const SLOTS: usize = 3;

fn one_shot() -> impl Strategy<Value = OneShot> {
    prop_oneof![Just(OneShot::Nmi), Just(OneShot::DebugStop)]
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let any = || 0..=SLOTS;
    let holder = || 0..usize::from(Word::MAX_HOLDERS);
    let epoch =
        prop_oneof![2 => Just(Epoch::Newest), 1 => Just(Epoch::Older), 1 => Just(Epoch::Newer)];
    let end = prop_oneof![Just(End::Done), Just(End::Failed), Just(End::Dropped)];
    let limit = prop_oneof![2 => Just(Limit::Never), 1 => Just(Limit::Passed)];
    let how = prop_oneof![Just(How::Drop), Just(How::Resume), Just(How::Release)];
    let owner = prop_oneof![
        24 => slot().prop_map(Op::Step),
        1 => slot().prop_map(Op::Start),
        2 => slot().prop_map(Op::Enter),
        2 => (slot(), epoch).prop_map(|(slot, epoch)| Op::Park(slot, epoch)),
        4 => slot().prop_map(Op::BeginTicket),
        2 => slot().prop_map(Op::WaitTicket),
        2 => (slot(), one_shot()).prop_map(|(slot, one_shot)| Op::Take(slot, one_shot)),
        1 => slot().prop_map(Op::Die),
    ];
    let others = prop_oneof![
        6 => (slot(), end).prop_map(|(slot, end)| Op::Complete(slot, end)),
        4 => (slot(), one_shot()).prop_map(|(slot, one_shot)| Op::Ask(slot, one_shot)),
        2 => any().prop_map(Op::Kill),
        1 => Just(Op::KillAll),
        1 => Just(Op::WaitDead),
        4 => slot().prop_map(Op::Reincarnate),
    ];
    let pausers = prop_oneof![
        40 => limit.prop_map(Op::Signal),
        1 => Just(Op::Fill),
        40 => holder().prop_map(Op::Wait),
        40 => (holder(), how).prop_map(|(holder, how)| Op::Release(holder, how)),
        20 => holder().prop_map(Op::Wake),
    ];
    prop_oneof![5 => owner, 3 => others, 3 => pausers]
}

fn run(program: &[Op]) {
    let mut world = World::new(SLOTS);
    for op in program {
        world.step(*op);
        world.check();
    }
}

proptest! {
    #[test]
    fn a_group_does_what_its_model_does(program in prop::collection::vec(op(), 1..120)) {
        run(&program);
    }
}

/// The programs reach what they are about; else the comparison would be of nothing.
#[test]
fn programs_reach_every_place() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let programs = prop::collection::vec(op(), 120);
    let mut seen = seen::Seen::default();
    for _ in 0..300 {
        let mut world = World::new(SLOTS);
        for op in programs.new_tree(&mut runner).unwrap().current() {
            world.step(op);
            world.check();
        }
        seen.add(&world.seen);
    }
    seen.assert_all();
}
