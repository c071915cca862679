//! The transition, over every word and event.
use crate::pci::msix::vector::{
    Effect, Event, Generation, MASKED, OPEN, PENDING, Vector, transition,
};

/// Every combination of flags, at generations where counting could go wrong.
fn words() -> impl Iterator<Item = Vector> {
    let generations = [0, 1 << 8, 0x7F << 8, u64::MAX << 8];
    let flags = (0..8).filter(|flags| flags & OPEN == 0 || flags & (MASKED | PENDING) == 0);
    flags.flat_map(move |flags| generations.map(|generation| Vector(generation | flags)))
}

fn events(word: Vector) -> [Event; 7] {
    let Generation(now) = word.generation();
    [
        Event::Raise,
        Event::Mask,
        Event::Unmask,
        Event::Close,
        Event::Open(Generation(now)),
        Event::Open(Generation(now.wrapping_sub(1 << 8))),
        Event::Forget,
    ]
}

fn every_step() -> impl Iterator<Item = (Vector, Event, Vector, Effect)> {
    words().flat_map(|word| {
        events(word).map(|event| {
            let (next, effect) = transition(word, event);
            (word, event, next, effect)
        })
    })
}

#[test]
fn an_open_vector_is_neither_masked_nor_pending() {
    assert_eq!(every_step().count(), 5 * 4 * 7, "open alone, and four without it");
    for (word, event, next, _) in every_step() {
        assert!(!next.has(OPEN) || !next.has(MASKED | PENDING), "{word:?} {event:?} {next:?}");
    }
}

#[test]
fn an_interrupt_is_delivered_or_pending_and_never_both() {
    for (word, event, next, effect) in every_step() {
        let came = u32::from(word.has(PENDING)) + u32::from(event == Event::Raise);
        let left = u32::from(next.has(PENDING)) + u32::from(effect == Effect::Deliver);
        match event {
            Event::Forget => assert_eq!(left, 0),
            // One that is pending already is one with the new one.
            _ => assert_eq!(left, came.min(1), "{word:?} {event:?} {next:?} {effect:?}"),
        }
    }
}

#[test]
fn nothing_is_delivered_by_a_vector_that_does_not_end_open() {
    for (word, event, next, effect) in every_step() {
        if effect == Effect::Deliver {
            assert!(next.has(OPEN), "{word:?} {event:?}");
            assert!(matches!(event, Event::Raise | Event::Open(_)));
        }
    }
}

#[test]
fn only_the_attendant_opens_and_only_what_was_not_closed_since_it_looked() {
    for (word, event, next, _) in every_step() {
        if next.has(OPEN) && !word.has(OPEN) {
            assert_eq!(event, Event::Open(word.generation()));
            assert!(!word.has(MASKED));
        }
    }
}

#[test]
fn whatever_closes_makes_a_new_generation() {
    for (word, event, next, _) in every_step() {
        let closes = match event {
            Event::Close => true,
            Event::Mask => !word.has(MASKED),
            _ => false,
        };
        assert_eq!(next.generation() != word.generation(), closes, "{word:?} {event:?}");
        assert!(!closes || !next.has(OPEN));
    }
}

#[test]
fn what_may_have_to_be_opened_is_asked_for() {
    for (word, event, next, effect) in every_step() {
        let asks = match event {
            Event::Unmask => true,
            Event::Close => !word.has(MASKED),
            _ => false,
        };
        assert_eq!(effect == Effect::Ask, asks, "{word:?} {event:?} {next:?}");
    }
}

#[test]
fn the_mask_bit_is_the_guests_alone() {
    for (word, event, next, _) in every_step() {
        let expected = match event {
            Event::Mask => true,
            Event::Unmask => false,
            _ => word.has(MASKED),
        };
        assert_eq!(next.has(MASKED), expected);
    }
}
