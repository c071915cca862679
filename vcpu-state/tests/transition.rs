//! Every promise of the crate's documentation, over every combination of flags and every event.
//!
//! The words: all 2¹⁰ flag combinations, with holder counts and epochs at their edges. Properties
//! about the protocol look at coherent words; totality looks at all of them.

use vcpu_state::{Event, Illegal, OneShot, Word, transition};

const HOLDERS: [u64; 4] = [0, 1, 2, 255];
const EPOCHS: [u64; 3] = [0, 7, u32::MAX as u64];
const INCARNATIONS: [u64; 2] = [0, 255];

fn words() -> impl Iterator<Item = Word> {
    (0..=Word::FLAGS).flat_map(|flags| {
        HOLDERS.into_iter().flat_map(move |holders| {
            EPOCHS.into_iter().flat_map(move |epoch| {
                INCARNATIONS.into_iter().map(move |incarnation| {
                    Word::from_bits(flags | holders << 16 | incarnation << 24 | epoch << 32)
                })
            })
        })
    })
}

fn events(word: Word) -> Vec<Event> {
    let mut events = vec![
        Event::Start,
        Event::Enter,
        Event::Leave,
        Event::RequestPause,
        Event::ReleasePause,
        Event::Unpark,
        Event::Kill,
        Event::Die,
        Event::Reincarnate,
        Event::BeginActivation,
        Event::EndActivation,
    ];
    for epoch in [word.epoch(), word.epoch().wrapping_sub(1), word.epoch().wrapping_add(1)] {
        events.push(Event::AckPause { epoch });
    }
    for one_shot in [OneShot::Nmi, OneShot::DebugStop] {
        events.extend([Event::Ask(one_shot), Event::Take(one_shot)]);
    }
    events
}

/// Every legal step out of a coherent word.
fn steps() -> impl Iterator<Item = (Word, Event, Word)> {
    words().filter(|word| word.is_coherent()).flat_map(|old| {
        events(old)
            .into_iter()
            .filter_map(move |event| transition(old, event).ok().map(|new| (old, event, new)))
    })
}

#[test]
fn there_are_coherent_words_and_every_event_is_legal_in_one() {
    let kinds: std::collections::HashSet<_> =
        steps().map(|(_, event, _)| std::mem::discriminant(&event)).collect();
    assert_eq!(kinds.len(), 14);
    assert!(words().filter(|word| word.is_coherent()).count() > 1000);
}

#[test]
fn total_every_word_and_event_has_an_answer() {
    for word in words() {
        for event in events(word) {
            let _ = transition(word, event);
        }
    }
}

#[test]
fn coherent_closed() {
    for (old, event, new) in steps() {
        assert!(new.is_coherent(), "{old} --{event:?}--> {new}");
    }
}

#[test]
fn killed_for_good() {
    for (old, event, new) in steps() {
        if event == Event::Reincarnate {
            assert!(old.any(Word::DEAD), "{old} --{event:?}--> {new}");
            continue;
        }
        for flag in [Word::KILLED, Word::DEAD] {
            assert!(!old.any(flag) || new.any(flag), "{old} --{event:?}--> {new}");
        }
        if old.any(Word::KILLED) {
            assert!(
                !new.any(Word::IN_GUEST) || old.any(Word::IN_GUEST),
                "{old} --{event:?}--> {new}"
            );
            assert!(!new.any(Word::PARKED) || old.any(Word::PARKED), "{old} --{event:?}--> {new}");
        }
    }
}

#[test]
fn paused_not_in_guest() {
    for (old, event, new) in steps() {
        let parked = new.any(Word::PAUSED | Word::PARKED);
        assert!(!(parked && new.any(Word::IN_GUEST)), "{old} --{event:?}--> {new}");
    }
}

#[test]
fn paused_is_parked_and_asked() {
    for (old, event, new) in steps() {
        let both = new.any(Word::PARKED) && new.any(Word::PAUSE_REQUESTED);
        assert_eq!(new.any(Word::PAUSED), both, "{old} --{event:?}--> {new}");
    }
}

#[test]
fn asked_is_held() {
    for (old, event, new) in steps() {
        assert_eq!(new.any(Word::PAUSE_REQUESTED), new.holders() > 0, "{old} --{event:?}--> {new}");
    }
}

#[test]
fn no_entry_when_asked() {
    let asked = Word::PAUSE_REQUESTED | Word::KILLED | Word::ONE_SHOTS | Word::ACTIVATION_PENDING;
    for (old, event, new) in steps() {
        if !old.any(Word::IN_GUEST) && new.any(Word::IN_GUEST) {
            assert_eq!(event, Event::Enter);
            assert!(!old.any(asked), "{old} --{event:?}--> {new}");
        }
    }
    let idle = Word::from_bits(Word::RUN);
    assert_eq!(transition(idle, Event::Enter), Ok(Word::from_bits(Word::RUN | Word::IN_GUEST)));
}

#[test]
fn stale_ack_inert() {
    for word in words() {
        for epoch in [word.epoch().wrapping_sub(1), word.epoch().wrapping_add(1)] {
            assert!(transition(word, Event::AckPause { epoch }).is_err(), "{word} ack {epoch}");
        }
    }
    let asked = transition(Word::from_bits(Word::RUN), Event::RequestPause).unwrap();
    let again = transition(asked, Event::RequestPause).unwrap();
    let ack = Event::AckPause { epoch: asked.epoch() };
    assert_eq!(transition(again, ack), Err(Illegal::StaleEpoch));
}

#[test]
fn quiet_stays_quiet() {
    for (old, event, new) in steps() {
        if old.any(Word::PAUSE_REQUESTED) && new.any(Word::PAUSE_REQUESTED) && old.is_quiescent() {
            assert!(new.is_quiescent(), "{old} --{event:?}--> {new}");
        }
    }
}

#[test]
fn one_shot_once() {
    for one_shot in [OneShot::Nmi, OneShot::DebugStop] {
        for word in words() {
            if let Ok(taken) = transition(word, Event::Take(one_shot)) {
                assert!(word.any(one_shot.flag()));
                assert!(!taken.any(one_shot.flag()));
                assert!(transition(taken, Event::Take(one_shot)).is_err());
            }
            if let Ok(asked) = transition(word, Event::Ask(one_shot)) {
                assert!(asked.any(one_shot.flag()));
            }
        }
    }
}

#[test]
fn dead_is_quiet() {
    for word in words() {
        if word.any(Word::DEAD) || !word.any(Word::RUN) {
            assert!(word.is_quiescent() && !word.owes_ack(), "{word}");
        }
    }
}

#[test]
fn pause_always_lands() {
    for word in words().filter(|word| word.is_coherent()) {
        let asked = transition(word, Event::RequestPause);
        if word.holders() == Word::MAX_HOLDERS {
            assert_eq!(asked, Err(Illegal::TooManyHolders));
        } else {
            let asked = asked.unwrap();
            assert!(asked.any(Word::PAUSE_REQUESTED));
            assert_eq!(asked.holders(), word.holders() + 1);
            assert_eq!(asked.epoch(), word.epoch().wrapping_add(1));
            // Back again: the release restores all but the epoch.
            let back = transition(asked, Event::ReleasePause).unwrap();
            assert_eq!(back.bits() << 32, word.bits() << 32, "{word} -> {asked} -> {back}");
        }
    }
}

#[test]
fn kill_always_lands() {
    for word in words() {
        assert!(transition(word, Event::Kill).unwrap().any(Word::KILLED));
    }
}

#[test]
fn only_the_last_release_lets_go() {
    for (old, event, new) in steps() {
        if event == Event::ReleasePause {
            assert_eq!(new.any(Word::PAUSE_REQUESTED), old.holders() > 1, "{old} --> {new}");
        } else if old.any(Word::PAUSE_REQUESTED) {
            assert!(new.any(Word::PAUSE_REQUESTED), "{old} --{event:?}--> {new}");
        }
    }
}

#[test]
fn bystanders_untouched() {
    use Word as W;
    for (old, event, new) in steps() {
        let flags = match event {
            Event::Start => W::RUN | W::PARKED | W::PAUSED,
            Event::Enter | Event::Leave => W::IN_GUEST,
            Event::RequestPause | Event::ReleasePause => W::PAUSE_REQUESTED | W::PAUSED,
            Event::AckPause { .. } => W::PARKED | W::PAUSED,
            Event::Unpark => W::PARKED,
            Event::Kill => W::KILLED,
            Event::Die => W::FLAGS & !W::KILLED & !W::PAUSE_REQUESTED,
            Event::Reincarnate => W::DEAD | W::KILLED | W::ONE_SHOTS,
            Event::BeginActivation | Event::EndActivation => W::ACTIVATION_PENDING,
            Event::Ask(one_shot) | Event::Take(one_shot) => one_shot.flag(),
        };
        let changed = (old.bits() ^ new.bits()) & W::FLAGS;
        assert_eq!(changed & !flags, 0, "{old} --{event:?}--> {new}");
        let pauser = matches!(event, Event::RequestPause | Event::ReleasePause);
        assert!(pauser || old.holders() == new.holders(), "{old} --{event:?}--> {new}");
        assert!(event == Event::RequestPause || old.epoch() == new.epoch());
        assert_eq!(event == Event::Reincarnate, old.incarnation() != new.incarnation());
    }
}

#[test]
fn a_word_reads_well() {
    assert_eq!(Word::NEW.to_string(), "NEW epoch=0");
    let word = Word::from_bits(Word::RUN | Word::IN_GUEST | 3 << 32);
    assert_eq!(word.to_string(), "RUN|IN_GUEST epoch=3");
    let held = transition(word, Event::RequestPause).unwrap();
    assert_eq!(held.to_string(), "RUN|IN_GUEST|PAUSE_REQUESTED epoch=4 holders=1");
    let reborn = Word::from_bits(Word::NMI | 2 << 24);
    assert_eq!(reborn.to_string(), "NMI epoch=0 incarnation=2");
    assert_eq!(format!("{reborn:?}"), "Word(NMI epoch=0 incarnation=2)");
}

/// Coherence said a second time, case by case: every other property looks at coherent words only.
#[test]
fn coherent_words_are_these() {
    for word in words() {
        let has = |flags| word.any(flags);
        let place = if has(Word::DEAD) || !has(Word::RUN) {
            // Not in its loop: no trace of the loop is left.
            !has(Word::RUN | Word::IN_GUEST | Word::PARKED | Word::ACTIVATION_PENDING)
        } else if has(Word::IN_GUEST) {
            !has(Word::PARKED) && !has(Word::ACTIVATION_PENDING)
        } else {
            true
        };
        let paused = if has(Word::PARKED) { has(Word::PAUSE_REQUESTED) } else { false };
        let held = if word.holders() == 0 {
            !has(Word::PAUSE_REQUESTED)
        } else {
            has(Word::PAUSE_REQUESTED)
        };
        assert_eq!(word.is_coherent(), place && held && has(Word::PAUSED) == paused, "{word:?}");
        assert_eq!(word.bits() & 0xffff, word.bits() & 0x3ff);
    }
    for bit in 10..16 {
        assert!(!Word::from_bits(Word::RUN | 1 << bit).is_coherent(), "bit {bit}");
    }
}

#[test]
fn on_its_way_are_those_that_run_and_have_nothing_in_their_way() {
    let way = |flags| Word::from_bits(flags).is_on_its_way();
    for flag in (0..10).map(|bit| 1 << bit) {
        if flag == Word::PAUSED {
            // Never without PAUSE_REQUESTED.
            continue;
        }
        let may = [Word::RUN, Word::NMI, Word::DEBUG_STOP, Word::PARKED].contains(&flag);
        assert_eq!(way(Word::RUN | flag), may, "{}", Word::from_bits(flag));
        assert!(flag == Word::RUN || !way(flag), "{}", Word::from_bits(flag));
    }
    for word in words().filter(|word| word.is_coherent() && word.may_enter()) {
        assert!(word.is_on_its_way(), "{word}");
    }
    // A one-shot and the park are passed on the way, whatever else there is; all else is not.
    for word in words() {
        let passed = Word::ONE_SHOTS | Word::PARKED;
        assert_eq!(word.is_on_its_way(), way(word.bits() & Word::FLAGS & !passed), "{word}");
    }
}

/// The layout that is documented, which is seen in dumps.
#[test]
fn the_fields_are_where_they_are_said_to_be() {
    let flags = [
        Word::RUN,
        Word::IN_GUEST,
        Word::PAUSE_REQUESTED,
        Word::PAUSED,
        Word::KILLED,
        Word::DEAD,
        Word::ACTIVATION_PENDING,
        Word::NMI,
        Word::DEBUG_STOP,
        Word::PARKED,
    ];
    for (bit, flag) in flags.into_iter().enumerate() {
        assert_eq!(flag, 1 << bit);
    }
    assert_eq!(Word::FLAGS, 0x3ff);
    let word = Word::from_bits(0x89ab_cdef_7654_0000);
    assert_eq!((word.holders(), word.incarnation(), word.epoch()), (0x54, 0x76, 0x89ab_cdef));
}
