//! What a program is made of, and how one is drawn at random.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use stillpoint_guest::Mode;

/// One VM, and what is done to it.
#[derive(Clone, Debug)]
pub struct Program {
    pub vcpus: u32,
    /// Timer ticks a second of each vCPU.
    pub tick: u32,
    pub chapters: Vec<Chapter>,
}

/// Hands at once; then everybody lets go and the invariants are checked.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// What the guest does at the beginning.
    pub mode: Mode,
    /// What each thread does.
    pub hands: Vec<Vec<Step>>,
    pub end: End,
}

/// What becomes of the VM while the hands are at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It lives on.
    None,
    /// It is shut down after so many microseconds, and booted again in the end.
    Shutdown(u16),
    /// It is rebooted after so many microseconds.
    Reboot(u16),
}

/// One thing that a hand does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The operator's pause.
    Pause,
    /// The operator's resume; the threads are woken only at this hand's next step.
    Resume,
    /// One more holder of this hand's own: asked and waited for.
    Hold,
    /// One more holder, only asked.
    Ask,
    /// The newest holder that was only asked is waited for.
    Await,
    /// This hand's newest holder lets go.
    Release,
    /// An NMI for every vCPU.
    Nmi,
    /// A key for the guest: another mode.
    Mode(Mode),
    /// A vCPU loses its thread.
    Remove(u8),
    /// A vCPU gets a thread.
    Add(u8),
    /// The vCPUs are left alone for so many microseconds.
    Run(u16),
    /// This hand never goes on. Never drawn: to try the watchdog.
    Stuck,
}

fn mode() -> impl Strategy<Value = Mode> {
    select(&Mode::ALL[..])
}

fn step(end: End) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Pause),
        4 => Just(Step::Resume),
        5 => Just(Step::Hold),
        2 => Just(Step::Ask),
        1 => Just(Step::Await),
        6 => Just(Step::Release),
        2 => Just(Step::Nmi),
        2 => mode().prop_map(Step::Mode),
        2 => any::<u8>().prop_map(Step::Remove),
        2 => any::<u8>().prop_map(Step::Add),
        3 => (0u16..200).prop_map(Step::Run),
        1 => (0u16..3000).prop_map(Step::Run),
    ]
    .prop_map(move |step| match (step, end) {
        // A key that a guest leaves unread at its end is there for the next: then nobody would know
        // which mode that one is in. And a vCPU that is still to be brought up has no handler for an NMI.
        (Step::Mode(_), End::Shutdown(_)) | (Step::Mode(_) | Step::Nmi, End::Reboot(_)) => {
            Step::Run(0)
        }
        (step, _) => step,
    })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::None),
        1 => (0u16..4000).prop_map(End::Shutdown),
        1 => (0u16..4000).prop_map(End::Reboot),
    ]
}

fn chapter() -> impl Strategy<Value = Chapter> {
    end().prop_flat_map(|end| {
        (mode(), vec(vec(step(end), 1..24), 1..=4)).prop_map(move |(mode, hands)| Chapter {
            mode,
            hands,
            end,
        })
    })
}

/// Any program.
pub fn program() -> impl Strategy<Value = Program> {
    let vcpus = prop_oneof![
        60 => 1u32..=4,
        25 => 5u32..=16,
        3 => 17u32..=63,
        2 => Just(64u32),
        1 => Just(254u32),
    ];
    let tick = prop_oneof![3 => Just(0u32), 1 => Just(50u32)];
    (vcpus, tick).prop_flat_map(|(vcpus, tick)| {
        // Hundreds of spinning vCPUs make everything slow; a chapter with them is long enough.
        let most = if vcpus < 17 { 4 } else { 2 };
        vec(chapter(), 1..=most).prop_map(move |chapters| Program { vcpus, tick, chapters })
    })
}
