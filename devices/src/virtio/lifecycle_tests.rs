//! Every word with every event.

use super::lifecycle::{Cause, Event, Illegal, Negotiation, State, Word, status, transition};

const GENERATIONS: [u32; 3] = [0, 7, u32::MAX];
const CAUSES: [Cause; 6] =
    [Cause::Features, Cause::Queue, Cause::Activation, Cause::Malformed, Cause::Host, Cause::Panic];

/// Every coherent word with one of a few generations.
fn words() -> Vec<Word> {
    let mut words = Vec::new();
    for generation in GENERATIONS {
        for low in 0..=0x000f_ffff_u64 {
            let word = Word::from_bits(low | u64::from(generation) << 32);
            if word.is_coherent() {
                words.push(word);
            }
        }
    }
    words
}

fn events() -> Vec<Event> {
    let mut events = vec![Event::Remove, Event::ResetDone];
    for value in 0..=u8::MAX {
        for features in [Negotiation::Acceptable, Negotiation::Unacceptable] {
            events.push(Event::WriteStatus { value, features });
        }
    }
    for generation in GENERATIONS {
        events.push(Event::Activated { generation });
        for cause in CAUSES {
            events.push(Event::ActivationFailed { generation, cause });
            events.push(Event::WorkerDied { generation, cause });
        }
    }
    events
}

/// Calls `check` with every word, event, and what the event makes of the word.
fn all(check: impl Fn(Word, Event, Word)) {
    let (words, events) = (words(), events());
    assert!(words.len() > 1000, "there are words: {}", words.len());
    for word in words {
        for event in &events {
            if let Ok(next) = transition(word, *event) {
                check(word, *event, next);
            }
        }
    }
}

#[test]
fn a_legal_event_makes_a_coherent_word_out_of_a_coherent_word() {
    all(|word, event, next| assert!(next.is_coherent(), "{word} {event:?} {next}"));
}

#[test]
fn the_right_to_activate_is_won_once_in_each_generation() {
    all(|word, event, next| {
        let won = word.state() != State::Activating && next.state() == State::Activating;
        let counted = next.generation() == word.generation().wrapping_add(1);
        assert_eq!(won, counted, "{word} {event:?} {next}");
        assert!(won || next.generation() == word.generation(), "{word} {event:?} {next}");
        if won {
            let by_status =
                matches!(event, Event::WriteStatus { value, .. } if value & status::DRIVER_OK != 0);
            assert!(by_status && word.state() == State::Inactive, "{word} {event:?} {next}");
            assert!(word.has(status::FEATURES_OK) && !next.has(status::FAILED), "{word} {event:?}");
        }
    });
}

#[test]
fn the_status_becomes_0_only_at_the_end_of_a_reset() {
    all(|word, event, next| {
        let cleared = word.status() & !next.status() != 0;
        assert!(!cleared || event == Event::ResetDone, "{word} {event:?} {next}");
        if event == Event::ResetDone {
            assert_eq!((next.status(), next.state()), (0, State::Inactive), "{word}");
            assert_eq!(word.state(), State::Resetting);
        }
    });
}

#[test]
fn a_reset_is_legal_at_any_time_and_only_its_end_leads_out_of_it() {
    for word in words() {
        for features in [Negotiation::Acceptable, Negotiation::Unacceptable] {
            let reset = transition(word, Event::WriteStatus { value: 0, features }).unwrap();
            assert_eq!(reset.state(), State::Resetting, "{word}");
        }
        assert_eq!(transition(word, Event::Remove).unwrap().state(), State::Resetting);
    }
    all(|word, event, next| {
        if word.state() == State::Resetting && event != Event::ResetDone {
            assert_eq!(next.state(), State::Resetting, "{word} {event:?}");
            assert_eq!(next.status(), word.status(), "{word} {event:?}");
        }
    });
}

#[test]
fn what_an_overtaken_activation_comes_to_changes_nothing() {
    for word in words().into_iter().filter(|word| word.state() == State::Resetting) {
        let generation = word.generation();
        for event in [
            Event::Activated { generation },
            Event::ActivationFailed { generation, cause: Cause::Panic },
            Event::WorkerDied { generation, cause: Cause::Panic },
        ] {
            assert_eq!(transition(word, event), Ok(word), "{event:?}");
        }
    }
}

#[test]
fn a_worker_of_an_earlier_generation_changes_nothing() {
    for word in words() {
        let event =
            Event::WorkerDied { generation: word.generation().wrapping_sub(1), cause: Cause::Host };
        assert_eq!(transition(word, event), Ok(word));
    }
}

#[test]
fn a_worker_that_dies_at_any_point_leads_to_failed_or_is_inert() {
    for word in words() {
        let generation = word.generation();
        let dead = transition(word, Event::WorkerDied { generation, cause: Cause::Host }).unwrap();
        match word.state() {
            State::Active | State::Failed => {
                assert_eq!(dead.state(), State::Failed, "{word}");
                assert!(dead.has(status::NEEDS_RESET), "{word}");
            }
            State::Activating => {
                let made = transition(dead, Event::Activated { generation }).unwrap();
                assert_eq!(made.state(), State::Failed, "{word}");
            }
            State::Inactive | State::Resetting => assert_eq!(dead, word),
        }
    }
}

#[test]
fn the_first_cause_of_a_failure_stands() {
    all(|word, event, next| {
        if let (Some(first), true) = (word.cause(), event != Event::ResetDone) {
            assert_eq!(next.cause(), Some(first), "{word} {event:?}");
        }
    });
}

#[test]
fn a_driver_sets_only_its_own_bits_and_features_ok_only_where_they_are() {
    all(|word, event, next| {
        if let Event::WriteStatus { value, features } = event {
            let set = next.status() & !word.status();
            assert_eq!(set & !value, 0, "{word} {event:?}");
            assert_eq!(set & status::NEEDS_RESET, 0, "{word} {event:?}");
            let agreed = set & status::FEATURES_OK != 0;
            assert!(!agreed || features == Negotiation::Acceptable, "{word} {event:?}");
        }
    });
}

#[test]
fn a_device_that_was_removed_stays_so_and_is_never_activated() {
    all(|word, event, next| {
        assert!(next.is_removed() || !word.is_removed(), "{word} {event:?}");
        if next.is_removed() {
            assert!(matches!(next.state(), State::Resetting | State::Inactive), "{word} {event:?}");
        }
    });
}

#[test]
fn the_activator_alone_can_lose_count() {
    for word in words() {
        for event in events() {
            let illegal = transition(word, event).err();
            let expected = match event {
                Event::ResetDone if word.state() != State::Resetting => Some(Illegal::NotResetting),
                Event::Activated { generation } | Event::ActivationFailed { generation, .. }
                    if generation != word.generation()
                        || !matches!(word.state(), State::Activating | State::Resetting) =>
                {
                    Some(Illegal::NotActivating)
                }
                _ => None,
            };
            assert_eq!(illegal, expected, "{word} {event:?}");
        }
    }
}

#[test]
fn a_driver_comes_up_as_the_specification_says() {
    let write = |word, value| {
        let features = Negotiation::Acceptable;
        transition(word, Event::WriteStatus { value, features }).unwrap()
    };
    let mut word = Word::NEW;
    for value in [1, 3, 11] {
        word = write(word, value);
        assert_eq!((word.status(), word.state()), (value, State::Inactive));
    }
    word = write(word, 15);
    assert_eq!((word.status(), word.state(), word.generation()), (15, State::Activating, 1));
    word = transition(word, Event::Activated { generation: 1 }).unwrap();
    assert_eq!(word.to_string(), "Active status=0x0f generation=1");
    word = transition(word, Event::WorkerDied { generation: 1, cause: Cause::Host }).unwrap();
    assert_eq!(word.to_string(), "Failed status=0x4f generation=1 cause=Host");
    word = write(word, 0);
    assert_eq!((word.status(), word.is_owed()), (0x4f, true));
    word = transition(word, Event::ResetDone).unwrap();
    assert_eq!(word.to_string(), "Inactive status=0x00 generation=1");
}
