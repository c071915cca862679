//! Each machine by itself, and both together with everything that may get lost between them.

use std::collections::{BTreeSet, HashSet};

use super::DestinationEvent as D;
use super::SourceEvent as S;
use super::*;

const SOURCE_EVENTS: [S; 11] = [
    S::Accepted,
    S::Stop,
    S::NotYet,
    S::Sent,
    S::Ready,
    S::Acknowledged,
    S::Refused,
    S::Lost,
    S::Cancelled,
    S::Entrusted,
    S::Arrived,
];

#[test]
fn what_is_over_stays_over() {
    for phase in SourcePhase::ALL.into_iter().filter(|phase| phase.is_final()) {
        assert!(SOURCE_EVENTS.iter().all(|event| phase.after(*event).is_err()));
    }
    for phase in DestinationPhase::ALL.into_iter().filter(|phase| phase.is_final()) {
        let events = [D::Described, D::Prepared, D::Committed, D::Lost, D::Entrusted, D::Arrived];
        assert!(events.iter().all(|event| phase.after(*event).is_err()));
    }
}

#[test]
fn a_loss_is_legal_in_every_phase_that_is_not_over_and_ends_it() {
    for phase in SourcePhase::ALL.into_iter().filter(|phase| !phase.is_final()) {
        let expected = match phase {
            SourcePhase::Committing => SourcePhase::InDoubt,
            SourcePhase::Serving => SourcePhase::Stranded,
            _ => SourcePhase::Restored,
        };
        assert_eq!(phase.after(S::Lost), Ok(expected));
        let refused = match phase {
            SourcePhase::Serving => SourcePhase::Stranded,
            _ => SourcePhase::Restored,
        };
        assert_eq!(phase.after(S::Refused), Ok(refused));
        let is_late = matches!(phase, SourcePhase::Committing | SourcePhase::Serving);
        assert_eq!(phase.after(S::Cancelled).is_ok(), !is_late);
    }
    for phase in DestinationPhase::ALL.into_iter().filter(|phase| !phase.is_final()) {
        let expected = match phase {
            DestinationPhase::Filling => DestinationPhase::Interrupted,
            _ => DestinationPhase::Discarded,
        };
        assert_eq!(phase.after(D::Lost), Ok(expected));
    }
}

#[test]
fn only_a_lost_commit_leaves_a_doubt_and_only_an_acknowledged_one_completes() {
    for phase in SourcePhase::ALL {
        for event in SOURCE_EVENTS {
            let after = phase.after(event);
            let is_commit = phase == SourcePhase::Committing;
            assert_eq!(after == Ok(SourcePhase::InDoubt), is_commit && event == S::Lost);
            let is_done = is_commit && event == S::Acknowledged
                || phase == SourcePhase::Serving && event == S::Arrived;
            assert_eq!(after == Ok(SourcePhase::Completed), is_done);
        }
    }
}

/// What is on its way from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ToDestination {
    Describe,
    All,
    Commit,
    End,
}

/// What is on its way from the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ToSource {
    Built,
    Ready,
    Committed,
    Arrived,
    Refused,
    End,
}

/// Both ends, each of which may be dead, and what is between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// Whether memory comes after the VM.
    is_lazy: bool,
    source: SourcePhase,
    destination: DestinationPhase,
    is_source_dead: bool,
    is_destination_dead: bool,
    forth: Vec<ToDestination>,
    back: Vec<ToSource>,
}

impl World {
    fn begin(is_lazy: bool) -> Self {
        Self {
            is_lazy,
            source: SourcePhase::Connecting,
            destination: DestinationPhase::Greeting,
            is_source_dead: false,
            is_destination_dead: false,
            forth: vec![ToDestination::Describe],
            back: vec![],
        }
    }

    fn source_runs(&self) -> bool {
        !self.is_source_dead && self.source.may_run()
    }

    fn destination_runs(&self) -> bool {
        !self.is_destination_dead && self.destination.may_run()
    }

    fn source(&self, event: S, sends: &[ToDestination]) -> Option<Self> {
        let mut next = self.clone();
        next.source = self.source.after(event).ok().filter(|_| !self.is_source_dead)?;
        next.forth.extend(sends);
        if next.source.is_final() {
            next.forth.push(ToDestination::End);
        }
        Some(next)
    }

    fn destination(&self, event: D, sends: &[ToSource]) -> Option<Self> {
        let mut next = self.clone();
        next.destination =
            self.destination.after(event).ok().filter(|_| !self.is_destination_dead)?;
        next.back.extend(sends);
        if next.destination.is_final() {
            next.back.push(ToSource::End);
        }
        Some(next)
    }

    /// Everything that can happen next.
    fn successors(&self) -> Vec<Self> {
        let mut next = Vec::new();
        // Of themselves: the source stops, goes back, sends, is cancelled, fails; the destination fails, or says no.
        next.extend(self.source(S::Stop, &[]));
        next.extend(self.source(S::NotYet, &[]));
        next.extend(self.source(S::Sent, &[ToDestination::All]));
        next.extend(self.source(S::Cancelled, &[]));
        next.extend(self.source(S::Lost, &[]));
        next.extend(self.destination(D::Lost, &[]));
        next.extend(self.destination(D::Lost, &[ToSource::Refused]));
        next.extend(self.destination(D::Arrived, &[ToSource::Arrived]));
        // Either dies: what it has sent may still arrive.
        if !self.is_source_dead {
            let mut dead = Self { is_source_dead: true, ..self.clone() };
            dead.forth.push(ToDestination::End);
            next.push(dead);
        }
        if !self.is_destination_dead {
            let mut dead = Self { is_destination_dead: true, ..self.clone() };
            dead.back.push(ToSource::End);
            next.push(dead);
        }
        // The link breaks, and takes with it what is on its way, from some point on.
        for kept in 0..self.forth.len() {
            let mut cut = self.clone();
            cut.forth.splice(kept.., [ToDestination::End]);
            next.push(cut);
        }
        for kept in 0..self.back.len() {
            let mut cut = self.clone();
            cut.back.splice(kept.., [ToSource::End]);
            next.push(cut);
        }
        next.extend(self.deliver_forth());
        next.extend(self.deliver_back());
        next
    }

    fn deliver_forth(&self) -> Option<Self> {
        let mut taken = self.clone();
        let message = if taken.forth.is_empty() { return None } else { taken.forth.remove(0) };
        let moved = match message {
            ToDestination::Describe => taken.destination(D::Described, &[ToSource::Built]),
            ToDestination::All => taken.destination(D::Prepared, &[ToSource::Ready]),
            ToDestination::Commit => {
                let event = if self.is_lazy { D::Entrusted } else { D::Committed };
                taken.destination(event, &[ToSource::Committed])
            }
            ToDestination::End => taken.destination(D::Lost, &[]),
        };
        // Nobody listens any more.
        Some(moved.unwrap_or(taken))
    }

    fn deliver_back(&self) -> Option<Self> {
        let mut taken = self.clone();
        let message = if taken.back.is_empty() { return None } else { taken.back.remove(0) };
        let moved = match message {
            ToSource::Built => taken.source(S::Accepted, &[]),
            ToSource::Ready => taken.source(S::Ready, &[ToDestination::Commit]),
            ToSource::Committed if self.is_lazy => taken.source(S::Entrusted, &[]),
            ToSource::Committed => taken.source(S::Acknowledged, &[]),
            ToSource::Arrived => taken.source(S::Arrived, &[]),
            ToSource::Refused => taken.source(S::Refused, &[]),
            ToSource::End => taken.source(S::Lost, &[]),
        };
        Some(moved.unwrap_or(taken))
    }
}

/// Every world that can be reached.
fn explore() -> HashSet<World> {
    let mut seen = HashSet::new();
    let mut waiting = vec![World::begin(false), World::begin(true)];
    while let Some(world) = waiting.pop() {
        // The source may hesitate for ever (Stop, NotYet), but not send without bound.
        if world.forth.len() <= 6 && world.back.len() <= 6 && seen.insert(world.clone()) {
            waiting.extend(world.successors());
        }
    }
    seen
}

#[test]
fn whatever_gets_lost_and_whoever_dies_never_both_vms_run() {
    let worlds = explore();
    assert!(worlds.len() > 500, "only {} worlds", worlds.len());
    for world in &worlds {
        assert!(!(world.source_runs() && world.destination_runs()), "{world:?}");
    }
}

#[test]
fn when_all_is_over_one_vm_is_there_or_the_source_says_that_it_cannot_know() {
    let (mut ends, mut lazy_ends) = (BTreeSet::new(), BTreeSet::new());
    for world in explore() {
        let is_over = world.source.is_final() && world.destination.is_final();
        if !is_over || world.is_source_dead || world.is_destination_dead {
            continue;
        }
        let runs = (world.source_runs(), world.destination_runs());
        match world.source {
            SourcePhase::InDoubt => assert!(!runs.0),
            // It was started, so it must never go on here; whether it is whole there, only that end knows.
            SourcePhase::Stranded => {
                assert!(!runs.0 && world.destination != DestinationPhase::Discarded);
            }
            _ => assert!(runs.0 != runs.1, "{world:?}"),
        }
        let ends = if world.is_lazy { &mut lazy_ends } else { &mut ends };
        ends.insert((format!("{:?}", world.source), format!("{:?}", world.destination)));
    }
    let names = |ends: BTreeSet<(String, String)>| {
        ends.iter().map(|(source, there)| format!("{source} {there}")).collect::<Vec<_>>()
    };
    assert_eq!(
        names(ends),
        ["Completed Started", "InDoubt Discarded", "InDoubt Started", "Restored Discarded"]
    );
    assert_eq!(
        names(lazy_ends),
        [
            "Completed Started",
            "InDoubt Discarded",
            "InDoubt Interrupted",
            "InDoubt Started",
            "Restored Discarded",
            "Stranded Interrupted",
            "Stranded Started",
        ]
    );
}
