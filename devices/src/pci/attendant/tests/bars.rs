//! BARs that move, alone and at each other, and their doorbells.
use super::*;

#[test]
fn a_bar_answers_when_the_guest_lets_it_and_no_longer() {
    let mut guest = Guest::new(1);
    let gpa = guest.gpa(1);
    assert_eq!((guest.bed.read_memory(gpa), guest.bed.read_memory(gpa + LEN - 1)), (1, 1));
    assert_eq!(guest.bed.read_memory(gpa + LEN), 0xFF);
    guest.bed.mmio.write(gpa, &[0], |_| panic!("nothing to wait for"));
    assert_eq!(guest.functions[0].writes(), 1);
    guest.check();
    let tickets = guest.bed.write_config(slot(1), 4, &[0]);
    assert!(!done(&tickets));
    guest.attendant.round();
    assert!(done(&tickets));
    assert_eq!(guest.bed.read_memory(gpa), 0xFF);
    guest.check();
    assert!(guest.functions[0].reconciled() >= 2);
}

#[test]
fn a_bar_of_ports_answers_on_the_ports() {
    let mut guest = Guest::new(1);
    let port = guest.functions[0].config().bar(BarIndex(2)).unwrap().gpa;
    let read = |guest: &Guest, port| {
        let mut data = [0];
        guest.bed.pio.read(port, &mut data);
        data[0]
    };
    assert_eq!(read(&guest, port), 0xFF);
    let _ = guest.bed.write_config(slot(1), 4, &[1]);
    guest.attendant.round();
    assert_eq!((read(&guest, port), guest.bed.read_memory(guest.gpa(1))), (1, 0xFF));
    let _ = guest.bed.write_config(slot(1), 0x18, &0x2000_u32.to_le_bytes());
    guest.attendant.round();
    assert_eq!((read(&guest, port), read(&guest, 0x2000)), (0xFF, 1));
}

#[test]
fn asking_for_the_size_while_it_answers_brings_it_back() {
    let mut guest = Guest::new(1);
    let gpa = guest.gpa(1);
    let _ = guest.place(1, u64::MAX);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(gpa), 0xFF);
    guest.check();
    let _ = guest.place(1, gpa);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(gpa), 1);
    guest.check();
}

#[test]
fn bars_that_exchange_their_places_do() {
    let mut guest = Guest::new(3);
    let places = [guest.gpa(1), guest.gpa(2), guest.gpa(3)];
    let mut tickets = guest.place(1, places[1]);
    tickets.extend(guest.place(2, places[2]));
    tickets.extend(guest.place(3, places[0]));
    guest.attendant.round();
    assert!(done(&tickets));
    assert_eq!(places.map(|gpa| guest.bed.read_memory(gpa)), [3, 1, 2]);
    assert_eq!(guest.refused(), 0);
    guest.check();
}

#[test]
fn bars_that_follow_each_other_do() {
    let mut guest = Guest::new(3);
    let places = [guest.gpa(1), guest.gpa(2), guest.gpa(3), 0x1_0000_0000];
    for tag in 1..=3 {
        let _ = guest.place(tag, places[usize::from(tag)]);
    }
    guest.attendant.round();
    assert_eq!(places.map(|gpa| guest.bed.read_memory(gpa)), [0xFF, 1, 2, 3]);
    assert_eq!(guest.refused(), 0);
    guest.check();
}

#[test]
fn a_bar_over_another_device_is_unmapped_counted_once_and_tried_again() {
    let mut guest = Guest::new(2);
    let (first, second) = (guest.gpa(1), guest.gpa(2));
    let tickets = guest.place(1, second);
    guest.attendant.round();
    assert!(done(&tickets), "the guest goes on");
    assert_eq!((guest.bed.read_memory(first), guest.bed.read_memory(second)), (0xFF, 2));
    assert_eq!(guest.refused(), 1);
    let _ = guest.bed.write_config(slot(1), 4, &[MEMORY]);
    guest.attendant.round();
    assert_eq!(guest.refused(), 1);
    guest.check();
    let _ = guest.bed.write_config(slot(2), 4, &[0]);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(second), 1);
    guest.check();
}

#[test]
fn a_bar_does_not_take_the_platforms_place() {
    let mut guest = Guest::new(1);
    let _ = guest.place(1, Bed::ECAM + 0x8000);
    guest.attendant.round();
    assert_eq!(guest.bed.read_config(slot(1), 0), 0x1042_1AF4);
    assert_eq!(guest.refused(), 1);
    guest.check();
    let _ = guest.place(1, u64::MAX << 12 & !0x1000);
    guest.attendant.round();
    assert_eq!(guest.bed.read_memory(!0x1FFF), 1, "the last place but one");
}

#[test]
fn without_doorbells_writes_reach_the_function() {
    let (bed, mut attendant) = Bed::new().unwrap();
    let function = function(1);
    bed.segment.insert(&function.shared()).unwrap();
    bed.platform.refuse(true);
    let tickets = bed.write_config(slot(1), 4, &[MEMORY]);
    attendant.round();
    assert!(done(&tickets));
    let gpa = function.config().bar(BAR).unwrap().gpa;
    bed.mmio.write(gpa + DOORBELL, &[0; 2], |_| {});
    assert_eq!((function.writes(), bed.platform.doorbells().len()), (1, 0));
    bed.platform.refuse(false);
    let _ = bed.write_config(slot(1), 4, &[MEMORY]);
    attendant.round();
    assert_eq!(bed.platform.doorbells(), [gpa + DOORBELL]);
}
