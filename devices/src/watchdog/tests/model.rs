//! The word against a model of structs, over random programs; and over every event in every state that they reach.

use proptest::prelude::*;

use crate::watchdog::word::{Event, Register, Stage, Word};

/// The registers as a data sheet has them.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a bit of a register each")]
struct Model {
    preload: [u32; 2],
    opened: Vec<u32>,
    timed_out: bool,
    enabled: bool,
    locked: bool,
    free_run: bool,
    restart: bool,
    configuration: u8,
}

impl Model {
    fn new(timed_out: bool) -> Self {
        Self {
            preload: [0xF_FFFF; 2],
            opened: Vec::new(),
            timed_out,
            enabled: false,
            locked: false,
            free_run: false,
            restart: false,
            configuration: 0,
        }
    }

    fn write(&mut self, register: Register, value: u32) {
        let opened = std::mem::take(&mut self.opened);
        if register == Register::Reload && value == 0x80 {
            self.opened = vec![0x80];
        } else if register == Register::Reload && value == 0x86 && opened == [0x80] {
            self.opened = vec![0x80, 0x86];
        } else if opened == [0x80, 0x86] {
            match register {
                Register::First => self.preload[0] = value & 0xF_FFFF,
                Register::Second => self.preload[1] = value & 0xF_FFFF,
                Register::Reload => {
                    self.restart |= value & 0x100 != 0 && self.enabled;
                    self.timed_out &= value & 0x200 == 0;
                }
                Register::Nothing => {}
            }
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Write(register, value) => self.write(register, value),
            Event::Configure(value) => self.configuration = value & 0x27,
            Event::Lock(_) if self.locked => {}
            Event::Lock(value) => {
                let was_enabled = self.enabled;
                self.locked = value & 1 != 0;
                self.enabled = value & 2 != 0;
                self.free_run = value & 4 != 0;
                self.restart = self.enabled && (self.restart || !was_enabled);
            }
            Event::TakeRestart => self.restart = false,
            Event::Expire => self.timed_out |= self.enabled && !self.restart,
        }
    }

    fn agrees_with(&self, word: Word) {
        assert_eq!(self.preload, [Register::First, Register::Second].map(|one| word.read(one)));
        assert_eq!(word.read(Register::Reload) == 0x200, self.timed_out);
        assert_eq!(word.read(Register::Nothing), 0);
        let lock = [self.locked, self.enabled, self.free_run];
        let lock: u8 = lock.iter().zip(0..).map(|(set, bit)| u8::from(*set) << bit).sum();
        assert_eq!(word.lock_register(), lock);
        assert_eq!(word.configuration(), self.configuration);
        assert_eq!((word.is_counting(), word.runs_free()), (self.enabled, self.free_run));
        assert_eq!(
            (word.is_restarted(), word.has_output()),
            (self.restart, self.configuration & 0x20 == 0)
        );
        assert!(!self.restart || self.enabled, "an order to a clock that is off");
        let shift = if self.configuration & 4 == 0 { 15 } else { 5 };
        for (stage, preload) in [(Stage::First, self.preload[0]), (Stage::Second, self.preload[1])]
        {
            let nanos = (u64::from(preload) << shift) * 1_000 / 33;
            assert_eq!(word.duration(stage).as_nanos(), u128::from(nanos.max(1_000_000)));
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let register = prop_oneof![
        1 => Just(Register::First),
        1 => Just(Register::Second),
        3 => Just(Register::Reload),
        1 => Just(Register::Nothing),
    ];
    let value = prop_oneof![
        3 => Just(0x80),
        3 => Just(0x86),
        1 => Just(0x100),
        1 => Just(0x200),
        1 => any::<u32>(),
    ];
    prop_oneof![
        6 => (register, value).prop_map(|(register, value)| Event::Write(register, value)),
        1 => any::<u8>().prop_map(Event::Configure),
        2 => (0..8_u8).prop_map(Event::Lock),
        1 => Just(Event::Lock(2)),
        1 => Just(Event::TakeRestart),
        1 => Just(Event::Expire),
    ]
}

proptest! {
    #[test]
    fn the_word_is_the_model(timed_out: bool, program in prop::collection::vec(event(), 0..80)) {
        let (mut model, mut word) = (Model::new(timed_out), Word::after_reset(timed_out));
        for event in program {
            model.apply(event);
            word = word.after(event).unwrap_or(word);
            model.agrees_with(word);
        }
    }
}
