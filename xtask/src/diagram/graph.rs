//! The graph of states that `transition` makes of all coherent words.
//!
//! A state is what people call a set of words: holders, epochs, incarnations and one-shots are folded away.
use std::collections::{BTreeMap, BTreeSet};

use vcpu_state::{Event, OneShot, Word, transition};

/// What people call a set of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    New,
    Running,
    InGuest,
    Asked,
    AskedInGuest,
    Waiting,
    Paused,
    Parked,
    Killed,
    Dead,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 10] = [
        Self::New,
        Self::Running,
        Self::InGuest,
        Self::Waiting,
        Self::AskedInGuest,
        Self::Asked,
        Self::Paused,
        Self::Parked,
        Self::Killed,
        Self::Dead,
    ];

    fn of(word: Word) -> Self {
        let has = |flag| word.any(flag);
        if has(Word::DEAD) {
            Self::Dead
        } else if has(Word::KILLED) {
            Self::Killed
        } else if !has(Word::RUN) {
            Self::New
        } else if has(Word::IN_GUEST) {
            if has(Word::PAUSE_REQUESTED) { Self::AskedInGuest } else { Self::InGuest }
        } else if has(Word::PAUSED) {
            Self::Paused
        } else if has(Word::PARKED) {
            Self::Parked
        } else if has(Word::PAUSE_REQUESTED) {
            Self::Asked
        } else if has(Word::ACTIVATION_PENDING) {
            Self::Waiting
        } else {
            Self::Running
        }
    }

    /// An identifier.
    pub fn id(self) -> String {
        format!("{self:?}")
    }

    /// The words of the state, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::New => "not started",
            Self::Running => "RUN",
            Self::InGuest => "RUN, IN_GUEST",
            Self::Asked => "RUN, PAUSE_REQUESTED",
            Self::AskedInGuest => "IN_GUEST, PAUSE_REQUESTED",
            Self::Waiting => "RUN, ACTIVATION_PENDING",
            Self::Paused => "PARKED, PAUSED",
            Self::Parked => "PARKED, held by nobody",
            Self::Killed => "KILLED",
            Self::Dead => "DEAD",
        }
    }
}

/// The edges: from, to, and the events that lead there.
pub struct Graph {
    /// Between two states.
    pub edges: BTreeMap<(State, State), BTreeSet<&'static str>>,
    /// From every state that it does not lead to already, a dead one excepted.
    pub from_any: BTreeMap<State, BTreeSet<&'static str>>,
}

impl Graph {
    /// What `transition` says.
    pub fn of_transition() -> Self {
        let mut edges = BTreeMap::<_, BTreeSet<_>>::new();
        for (from, name, to) in steps() {
            edges.entry((from, to)).or_default().insert(name);
        }
        let mut from_any = BTreeMap::<_, BTreeSet<_>>::new();
        for to in State::ALL {
            let sources: Vec<_> =
                State::ALL.into_iter().filter(|from| *from != to && *from != State::Dead).collect();
            let names = |from: &State| edges.get(&(*from, to)).cloned().unwrap_or_default();
            let common =
                sources.iter().map(names).reduce(|all, one| &all & &one).unwrap_or_default();
            if common.is_empty() {
                continue;
            }
            for from in sources {
                if let Some(names) = edges.get_mut(&(from, to)) {
                    names.retain(|name| !common.contains(name));
                }
            }
            from_any.insert(to, common);
        }
        edges.retain(|_, names| !names.is_empty());
        Self { edges, from_any }
    }
}

fn steps() -> impl Iterator<Item = (State, &'static str, State)> {
    coherent_words().flat_map(|word| {
        events(word).into_iter().filter_map(move |event| {
            let (from, to) = (State::of(word), State::of(transition(word, event).ok()?));
            (from != to).then_some((from, name(event), to))
        })
    })
}

fn coherent_words() -> impl Iterator<Item = Word> {
    (0..=Word::FLAGS)
        .flat_map(|flags| (0..3).map(move |holders| Word::from_bits(flags | holders << 16)))
        .filter(|word| word.is_coherent())
}

fn events(word: Word) -> Vec<Event> {
    let mut events = vec![
        Event::Start,
        Event::Enter,
        Event::Leave,
        Event::RequestPause,
        Event::ReleasePause,
        Event::AckPause { epoch: word.epoch() },
        Event::Unpark,
        Event::Kill,
        Event::Die,
        Event::Reincarnate,
        Event::BeginActivation,
        Event::EndActivation,
    ];
    for one_shot in [OneShot::Nmi, OneShot::DebugStop] {
        events.extend([Event::Ask(one_shot), Event::Take(one_shot)]);
    }
    events
}

fn name(event: Event) -> &'static str {
    match event {
        Event::Start => "Start",
        Event::Enter => "Enter",
        Event::Leave => "Leave",
        Event::RequestPause => "RequestPause",
        Event::ReleasePause => "ReleasePause",
        Event::AckPause { .. } => "AckPause",
        Event::Unpark => "Unpark",
        Event::Kill => "Kill",
        Event::Die => "Die",
        Event::Reincarnate => "Reincarnate",
        Event::BeginActivation => "BeginActivation",
        Event::EndActivation => "EndActivation",
        Event::Ask(_) => "Ask",
        Event::Take(_) => "Take",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn killing_and_dying_are_possible_everywhere_and_nothing_else_is() {
        let graph = Graph::of_transition();
        let any: Vec<_> = graph.from_any.into_iter().collect();
        assert_eq!(
            any,
            [(State::Killed, BTreeSet::from(["Kill"])), (State::Dead, BTreeSet::from(["Die"]))]
        );
    }

    #[test]
    fn the_guest_is_entered_from_one_state_only() {
        let graph = Graph::of_transition();
        let into: Vec<_> = graph.edges.keys().filter(|(_, to)| *to == State::InGuest).collect();
        // The other way in is a request that is taken back.
        assert_eq!(
            into,
            [&(State::Running, State::InGuest), &(State::AskedInGuest, State::InGuest)]
        );
    }
}
