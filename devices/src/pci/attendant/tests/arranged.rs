//! Functions that are put where they were in the machine that is restored.

use super::*;
use crate::pci::segment::{Occupied, Place, SlotState};

fn place(function: &Arc<Tagged>, number: u8, occupied: Occupied) -> Place {
    Place { slot: slot(number), function: function.shared(), occupied }
}

#[test]
fn functions_change_places_with_their_bars_and_doorbells_and_nobody_is_told_that_one_is_gone() {
    let mut guest = Guest::new(3);
    while guest.attendant.round() {}
    let at =
        |guest: &Guest, function: usize| guest.functions[function].config().bar(BAR).unwrap().gpa;
    let [first, second, third] = [0, 1, 2].map(|function| at(&guest, function));
    // The first and the second change places and addresses, the third goes where nobody was.
    for (function, gpa) in [(0, second), (1, first)] {
        guest.functions[function].config().set_bar(BAR, gpa);
    }
    let [one, two, three] = guest.functions.clone().try_into().ok().unwrap();
    let places = [
        place(&one, 2, Occupied::Present),
        place(&two, 1, Occupied::RemovalAsked),
        place(&three, 17, Occupied::Fixed),
    ];
    guest.bed.segment.arrange(&places).unwrap();
    while guest.attendant.round() {}
    let tags = [first, second, third].map(|gpa| guest.bed.read_memory(gpa));
    assert_eq!(tags, [2, 1, 3]);
    let mut doorbells = [first, second, third].map(|gpa| gpa + DOORBELL);
    doorbells.sort_unstable();
    assert_eq!(guest.bed.platform.doorbells(), doorbells);
    assert_eq!(guest.bed.platform.mistakes(), 0);
    assert_eq!(guest.bed.gone(), []);
    let states = [1, 2, 3, 17].map(|number| guest.bed.segment.state(slot(number)));
    let expected =
        [SlotState::RemovalAsked, SlotState::Present, SlotState::Empty, SlotState::Fixed];
    assert_eq!(states, expected);
    // From now on it is a bus like others.
    guest.bed.segment.remove(slot(1)).unwrap();
    guest.bed.segment.remove(slot(17)).unwrap_err();
    while guest.attendant.round() {}
    assert_eq!(guest.bed.gone(), [slot(1)]);
    assert_eq!(guest.bed.read_memory(first), 0xFF);
}

#[test]
fn places_that_cannot_be_are_refused_by_name_and_nothing_moves() {
    let mut guest = Guest::new(2);
    while guest.attendant.round() {}
    let [one, two] = guest.functions.clone().try_into().ok().unwrap();
    let stranger = function(9);
    let present = |function: &Arc<Tagged>, number| place(function, number, Occupied::Present);
    for (places, expected) in [
        (vec![present(&one, 1)], "the number of functions on the bus is 2 here, and was 1"),
        (
            vec![present(&one, 5), present(&two, 5)],
            "PCI slot 5 cannot have tagged: another function",
        ),
        (
            vec![present(&one, 5), present(&one, 6)],
            "PCI slot 6 cannot have tagged: it is in another",
        ),
        (
            vec![present(&one, 5), present(&stranger, 6)],
            "PCI slot 6 cannot have tagged: it is not on",
        ),
        (vec![present(&one, 0), present(&two, 6)], "PCI slot 0 cannot have tagged: it is the host"),
    ] {
        let error = guest.bed.segment.arrange(&places).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
        let occupied = [1, 2, 5, 6].map(|number| guest.bed.segment.occupied(slot(number)));
        assert_eq!(occupied, [Some(Occupied::Present), Some(Occupied::Present), None, None]);
    }
}

#[test]
fn a_bar_that_answers_outside_of_the_windows_is_refused_by_name_and_one_that_does_not_answer_is_not()
 {
    let guest = Guest::new(1);
    let function = &guest.functions[0];
    let segment = &guest.bed.segment;
    for (gpa, fits) in [(0xC000_0000, true), (1 << 40, true), (0x1000, false), (1 << 50, false)] {
        function.config().set_bar(BAR, gpa);
        let checked = segment.check_bars(&**function, &function.config().save());
        assert_eq!(checked.is_ok(), fits, "{gpa:#x}");
    }
    let error = segment.check_bars(&**function, &function.config().save()).unwrap_err();
    let text = "tagged: BAR 0 answers at 0x4000000000000, 0x1000 bytes, which is in no window of this machine's bus";
    assert_eq!(error.to_string(), text);
    function.config().write(4, &[0]);
    segment.check_bars(&**function, &function.config().save()).unwrap();
}
