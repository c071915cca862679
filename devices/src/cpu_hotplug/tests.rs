//! The registers as AML uses them, as a guest misuses them, and against a model.

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Told(AtomicU64);

impl EjectedSink for Told {
    fn ejected(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn controller(present: u32, possible: u32) -> (CpuHotplugController, Arc<Told>) {
    let told = Arc::new(Told::default());
    (CpuHotplugController::new(present, possible, Arc::clone(&told) as _), told)
}

fn read(registers: &CpuHotplugController, offset: u64) -> u32 {
    let mut data = [0xAA; 4];
    registers.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write(registers: &CpuHotplugController, offset: u64, value: u32) {
    assert!(matches!(registers.write(offset, &value.to_le_bytes()), Written::Done));
}

/// What `_STA` reads.
fn status_of(registers: &CpuHotplugController, vcpu: u32) -> u32 {
    write(registers, SELECT, vcpu);
    read(registers, STATUS)
}

/// What `_EJ0` does.
fn eject(registers: &CpuHotplugController, vcpu: u32) {
    write(registers, SELECT, vcpu);
    write(registers, STATUS, slot::EJECT);
}

/// The scan method: what it notifies of.
fn scan(registers: &CpuHotplugController) -> Vec<(u32, u32)> {
    let mut notified = Vec::new();
    loop {
        write(registers, COMMAND, NEXT_WITH_NEWS);
        let vcpu = read(registers, SELECT);
        if vcpu == NONE {
            return notified;
        }
        let status = read(registers, STATUS);
        for (bit, value) in [(slot::INSERTING, 1), (slot::REMOVING, 3)] {
            if status & bit != 0 {
                notified.push((vcpu, value));
            }
        }
        write(registers, STATUS, status & (slot::INSERTING | slot::REMOVING));
    }
}

#[test]
fn vcpus_come_and_go_as_the_aml_does_it() {
    let (registers, told) = controller(2, 4);
    let statuses = |registers: &_| [0, 1, 2, 3].map(|vcpu| status_of(registers, vcpu));
    assert_eq!(statuses(&registers), [1, 1, 0, 0]);
    assert_eq!(scan(&registers), []);
    registers.insert(3).unwrap();
    registers.insert(2).unwrap();
    assert_eq!(statuses(&registers), [1, 1, 3, 3]);
    assert_eq!(scan(&registers), [(3, 1), (2, 1)], "from the selected one on, once around");
    assert_eq!(statuses(&registers), [1; 4]);
    registers.ask_removal(3).unwrap();
    assert_eq!((scan(&registers), scan(&registers)), (vec![(3, 3)], vec![]));
    assert_eq!(registers.presence(3), Presence::Removing, "heard, and not done");
    assert_eq!(told.0.load(Ordering::Relaxed), 0);
    eject(&registers, 3);
    assert_eq!((statuses(&registers), told.0.load(Ordering::Relaxed)), ([1, 1, 1, 0], 1));
    assert_eq!(registers.presence(3), Presence::Ejected);
    assert!(registers.insert(3).is_err(), "its thread may still be there");
    assert_eq!((registers.take_ejected(), registers.take_ejected()), (vec![3], vec![]));
    registers.vacate(3).unwrap();
    registers.insert(3).unwrap();
    let expected = [("inserted", 3), ("removals_asked", 1), ("ejections", 1)];
    assert_eq!(registers.counters(), expected);
}

#[test]
fn a_removal_can_be_taken_back_until_the_guest_ejects() {
    let (registers, _) = controller(3, 3);
    registers.ask_removal(2).unwrap();
    assert_eq!(registers.cancel_removal(2), Ok(Heard::No));
    assert_eq!(scan(&registers), [], "the guest never hears of it");
    registers.ask_removal(2).unwrap();
    assert_eq!(scan(&registers), [(2, 3)]);
    assert_eq!(registers.cancel_removal(2), Ok(Heard::Yes));
    assert_eq!(registers.presence(2), Presence::Present);
    registers.ask_removal(2).unwrap();
    eject(&registers, 2);
    let gone = WrongPresence { vcpu: 2, presence: Presence::Ejected };
    assert_eq!(registers.cancel_removal(2), Err(gone));
}

#[test]
fn the_first_vcpu_and_those_that_are_not_there_are_not_ejected() {
    let (registers, told) = controller(1, 2);
    for vcpu in [0, 1, 2, 1 << 31, NONE] {
        eject(&registers, vcpu);
    }
    assert_eq!((told.0.load(Ordering::Relaxed), registers.take_ejected()), (0, vec![]));
    assert_eq!(status_of(&registers, 0), 1);
    for vcpu in [2, NONE] {
        assert_eq!((status_of(&registers, vcpu), read(&registers, SELECT)), (0, NONE));
        assert_eq!(registers.presence(vcpu), Presence::Absent);
        assert!(registers.insert(vcpu).is_err());
    }
}

#[test]
fn other_widths_offsets_and_commands_do_nothing() {
    let (registers, told) = controller(2, 2);
    registers.ask_removal(1).unwrap();
    write(&registers, SELECT, 1);
    for (offset, len) in [(0, 1), (0, 2), (0, 8), (1, 2), (4, 1), (4, 8), (6, 4), (8, 8), (12, 4)] {
        let mut data = vec![0xAA; len];
        registers.read(offset, &mut data);
        assert!(data.iter().all(|byte| *byte == 0), "{offset} {len}");
        assert!(matches!(registers.write(offset, &vec![0xFF; len]), Written::Done));
    }
    for command in [1, 2, NONE] {
        write(&registers, COMMAND, command);
    }
    assert_eq!((read(&registers, COMMAND), read(&registers, SELECT)), (0, 1));
    assert_eq!((read(&registers, STATUS), told.0.load(Ordering::Relaxed)), (5, 0));
}

#[test]
fn of_many_that_eject_one_vcpu_one_does() {
    for _ in 0..200 {
        let (registers, told) = controller(2, 2);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| eject(&registers, 1));
            }
        });
        assert_eq!((told.0.load(Ordering::Relaxed), registers.take_ejected()), (1, vec![1]));
        registers.vacate(1).unwrap();
        assert!(registers.take_ejected().is_empty());
    }
}

/// What is done to the registers in a random program.
#[derive(Clone, Copy, Debug)]
enum Act {
    Insert(u32),
    Ask(u32),
    Cancel(u32),
    Vacate,
    Scan,
    Eject(u32),
    Write(u64, u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let vcpu = 0..6_u32;
    let act = prop_oneof![
        vcpu.clone().prop_map(Act::Insert),
        vcpu.clone().prop_map(Act::Ask),
        vcpu.clone().prop_map(Act::Cancel),
        Just(Act::Vacate),
        Just(Act::Scan),
        vcpu.prop_map(Act::Eject),
        (0..4_u64, prop_oneof![0..18_u32, any::<u32>()])
            .prop_map(|(register, value)| Act::Write(register * 4, value)),
    ];
    prop::collection::vec(act, 0..60)
}

const POSSIBLE: u32 = 5;

/// A slot as the host and a well-behaved guest remember it.
#[derive(Clone, Copy, Default)]
struct Remembered {
    there: bool,
    news: [bool; 2],
    asked: bool,
    ejected: bool,
}

proptest! {
    #[test]
    fn the_registers_are_those_of_the_model(acts in acts()) {
        let (registers, told) = controller(2, POSSIBLE);
        let mut slots = [Remembered::default(); POSSIBLE as usize];
        for slot in &mut slots[..2] {
            slot.there = true;
        }
        let mut selected = 0;
        let mut ejections = 0;
        for act in acts {
            match act {
                Act::Insert(vcpu) => {
                    let free = slots.get_mut(vcpu as usize).filter(|slot| !slot.there && !slot.ejected);
                    prop_assert_eq!(registers.insert(vcpu).is_ok(), free.is_some());
                    if let Some(slot) = free {
                        *slot = Remembered { there: true, news: [true, false], ..*slot };
                    }
                }
                Act::Ask(vcpu) => {
                    let there = slots.get_mut(vcpu as usize).filter(|slot| slot.there && !slot.asked);
                    prop_assert_eq!(registers.ask_removal(vcpu).is_ok(), there.is_some());
                    if let Some(slot) = there {
                        (slot.asked, slot.news[1]) = (true, true);
                    }
                }
                Act::Cancel(vcpu) => {
                    let asked = slots.get_mut(vcpu as usize).filter(|slot| slot.asked);
                    let heard = registers.cancel_removal(vcpu).ok();
                    prop_assert_eq!(heard.map(|heard| heard == Heard::No), asked.as_ref().map(|slot| slot.news[1]));
                    if let Some(slot) = asked {
                        (slot.asked, slot.news[1]) = (false, false);
                    }
                }
                Act::Vacate => {
                    for vcpu in registers.take_ejected() {
                        let slot = &mut slots[vcpu as usize];
                        prop_assert!(slot.ejected);
                        registers.vacate(vcpu).unwrap();
                        slot.ejected = false;
                    }
                    prop_assert!(slots.iter().all(|slot| !slot.ejected), "one was not told");
                }
                Act::Scan => {
                    for (vcpu, value) in scan(&registers) {
                        let which = usize::from(value == 3);
                        prop_assert!(std::mem::take(&mut slots[vcpu as usize].news[which]));
                    }
                    prop_assert!(slots.iter().all(|slot| slot.news == [false; 2]), "one was not told");
                    selected = NONE;
                }
                Act::Eject(vcpu) => {
                    eject(&registers, vcpu);
                    selected = if vcpu < POSSIBLE { vcpu } else { NONE };
                    let there = slots.get_mut(vcpu as usize).filter(|slot| slot.there && vcpu != 0);
                    if let Some(slot) = there {
                        *slot = Remembered { ejected: true, ..Remembered::default() };
                        ejections += 1;
                    }
                }
                Act::Write(SELECT, value) => {
                    write(&registers, SELECT, value);
                    selected = if value < POSSIBLE { value } else { NONE };
                }
                Act::Write(STATUS, value) => {
                    write(&registers, STATUS, value);
                    if let Some(slot) = slots.get_mut(selected as usize).filter(|slot| slot.there) {
                        if value & slot::EJECT != 0 && selected != 0 {
                            *slot = Remembered { ejected: true, ..Remembered::default() };
                            ejections += 1;
                        } else {
                            slot.news[0] &= value & slot::INSERTING == 0;
                            slot.news[1] &= value & slot::REMOVING == 0;
                        }
                    }
                }
                Act::Write(COMMAND, 0) => {
                    write(&registers, COMMAND, 0);
                    selected = read(&registers, SELECT);
                    let any = slots.iter().any(|slot| slot.news != [false; 2]);
                    let found = slots.get(selected as usize).map(|slot| slot.news != [false; 2]);
                    prop_assert_eq!(found, any.then_some(true));
                }
                Act::Write(offset, value) => write(&registers, offset, value),
            }
            prop_assert_eq!(read(&registers, SELECT), selected);
            for (vcpu, slot) in (0..).zip(slots) {
                let Remembered { there, news: [inserting, removing], asked, ejected } = slot;
                let status = u32::from(there) | u32::from(inserting) << 1 | u32::from(removing) << 2;
                prop_assert_eq!(registers.load(vcpu).status(), status);
                let presence = match (there, ejected) {
                    (_, true) => Presence::Ejected,
                    (false, _) => Presence::Absent,
                    _ if asked => Presence::Removing,
                    _ if inserting => Presence::Inserting,
                    _ => Presence::Present,
                };
                prop_assert_eq!(registers.presence(vcpu), presence);
            }
            prop_assert_eq!(told.0.load(Ordering::Relaxed), ejections);
        }
    }
}

#[test]
fn it_goes_on_where_it_was_saved() {
    let (first, _) = controller(2, 5);
    first.insert(2).unwrap();
    first.insert(3).unwrap();
    first.ask_removal(1).unwrap();
    eject(&first, 3);
    write(&first, SELECT, 2);
    let (second, told) = controller(1, 5);
    second.restore(&first.save()).unwrap();
    assert_eq!(second.save(), first.save());
    assert_eq!((told.0.load(Ordering::Relaxed), second.take_ejected()), (1, vec![3]));
    assert_eq!((read(&second, SELECT), second.presence(1)), (2, Presence::Removing));
    assert_eq!(scan(&second), scan(&first));
    second.vacate(3).unwrap();
    let saved = second.save();
    assert_eq!((saved.presence(2), saved.presence(3)), (Presence::Present, Presence::Absent));
}

fn word() -> impl Strategy<Value = u32> {
    let legal = vec![0, 1, 3, 0x101, 0x103, 0x105, 0x107, 0x200];
    prop_oneof![4 => proptest::sample::select(legal), 1 => 0..0x400_u32]
}

proptest! {
    #[test]
    fn slots_that_no_steps_lead_to_are_refused(
        words in proptest::collection::vec(word(), 3),
        selected in prop_oneof![0..5_u32, Just(NONE)],
    ) {
        let (registers, _) = controller(1, 3);
        let before = registers.save();
        let saved = SavedCpuHotplug { selected, slots: words.clone() };
        let legal = |word: &u32| match word & 0x30F {
            0 => *word == 0,
            0x200 => *word == 0x200,
            1 | 3 | 0x101 | 0x103 | 0x105 | 0x107 => word & !0x30F == 0,
            _ => false,
        };
        let fits = words.iter().all(legal) && words[0] & 1 == 1 && (selected < 3 || selected == NONE);
        prop_assert_eq!(registers.restore(&saved).is_ok(), fits);
        prop_assert_eq!(registers.save() == before, !fits || saved == before);
    }
}
