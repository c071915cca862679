//! A slot, and the state that it is in.
//!
//! ```text
//!            Reserve              Publish             AskRemoval
//!   empty ───────────▶ reserved ───────────▶ present ────────────▶ removal asked ─┐AskRemoval
//!    ▲ ▲                  │                     │                    │    ▲       │
//!    │ └──────Free────────┘                     └──────Eject─────┐   │    └───────┘
//!    │                                                           ▼   ▼ Eject
//!    └───────────────────────────Free─────────────────────────── ejected          fixed (the host bridge; from reserved, by Fix)
//! ```
//!
//! A guest may eject without having been asked. A slot is free again when nothing answers for its function any
//! longer: the attendant frees it.

/// One of the 32 devices of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// How many there are.
    pub const COUNT: u8 = 32;
    /// The host bridge's.
    pub const HOST_BRIDGE: Self = Self(0);

    /// The slot with this number, if there is one.
    pub const fn new(number: u8) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// Its number: the device number of its function.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Every slot, in ascending order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    pub(in crate::pci) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// A function can be inserted.
    Empty,
    /// One is being inserted, and not visible yet.
    Reserved,
    /// The guest sees a function.
    Present,
    /// The guest sees it, and has been asked to give it up.
    RemovalAsked,
    /// The guest has given it up, and sees nothing; it is being taken apart.
    Ejected,
    /// The guest sees a function that cannot be removed.
    Fixed,
}

/// What happens to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotEvent {
    Reserve,
    Publish,
    Fix,
    AskRemoval,
    Eject,
    Free,
}

impl SlotState {
    const ALL: [Self; 6] = [
        Self::Empty,
        Self::Reserved,
        Self::Present,
        Self::RemovalAsked,
        Self::Ejected,
        Self::Fixed,
    ];

    pub(super) const fn to_word(self) -> u32 {
        self as u32
    }

    /// Only what `to_word` made is in a slot's word; anything else would be a slot that nobody can use.
    pub(super) fn of_word(word: u32) -> Self {
        Self::ALL.into_iter().find(|state| state.to_word() == word).unwrap_or(Self::Fixed)
    }
}

/// The state after an event; `None` if it is not legal.
pub(super) const fn transition(state: SlotState, event: SlotEvent) -> Option<SlotState> {
    match (state, event) {
        (SlotState::Empty, SlotEvent::Reserve) => Some(SlotState::Reserved),
        (SlotState::Reserved, SlotEvent::Publish) => Some(SlotState::Present),
        (SlotState::Reserved, SlotEvent::Fix) => Some(SlotState::Fixed),
        (SlotState::Present | SlotState::RemovalAsked, SlotEvent::AskRemoval) => {
            Some(SlotState::RemovalAsked)
        }
        (SlotState::Present | SlotState::RemovalAsked, SlotEvent::Eject) => {
            Some(SlotState::Ejected)
        }
        (SlotState::Reserved | SlotState::Ejected, SlotEvent::Free) => Some(SlotState::Empty),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [SlotEvent; 6] = [
        SlotEvent::Reserve,
        SlotEvent::Publish,
        SlotEvent::Fix,
        SlotEvent::AskRemoval,
        SlotEvent::Eject,
        SlotEvent::Free,
    ];

    #[test]
    fn words_and_states_are_the_same() {
        for state in SlotState::ALL {
            assert_eq!(SlotState::of_word(state.to_word()), state);
        }
    }

    #[test]
    fn a_slot_is_reserved_only_when_empty_and_freed_only_when_nothing_is_visible() {
        for state in SlotState::ALL {
            let after = |event| transition(state, event);
            assert_eq!(after(SlotEvent::Reserve).is_some(), state == SlotState::Empty);
            let invisible = matches!(state, SlotState::Reserved | SlotState::Ejected);
            assert_eq!(after(SlotEvent::Free).is_some(), invisible, "{state:?}");
            let visible = matches!(state, SlotState::Present | SlotState::RemovalAsked);
            assert_eq!(after(SlotEvent::Eject).is_some(), visible, "{state:?}");
            assert_eq!(after(SlotEvent::AskRemoval).is_some(), visible, "{state:?}");
        }
    }

    #[test]
    fn what_is_fixed_stays() {
        for event in EVENTS {
            assert_eq!(transition(SlotState::Fixed, event), None);
        }
    }

    #[test]
    fn an_ejected_slot_is_not_present_again_without_having_been_empty() {
        for event in EVENTS {
            let after = transition(SlotState::Ejected, event);
            assert!(matches!(after, None | Some(SlotState::Empty)), "{event:?}: {after:?}");
        }
    }
}
