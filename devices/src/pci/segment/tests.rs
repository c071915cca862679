//! The segment, through both of its ways in.
use std::sync::Arc;

use super::*;
use crate::pci::config::BarSpace;
use crate::pci::function::{BarIndex, PciFunction};
use crate::pci::hotplug::EjectSink;
use crate::pci::testing::{Bed, Tagged};

const ONES: u32 = 0xFFFF_FFFF;
const TAGGED: u32 = 0x1042_1AF4;

fn function(tag: u8) -> Arc<Tagged> {
    let bars =
        [(0, BarSpace::Memory64, 0x4000), (2, BarSpace::Memory32, 0x1000), (3, BarSpace::Io, 0x20)];
    Arc::new(Tagged::new(tag, &bars).unwrap())
}

fn slot(number: u8) -> Slot {
    Slot::new(number).unwrap()
}

/// Selects a register through the address port.
fn select(bed: &Bed, address: u32) {
    bed.pio.write(0xCF8, &address.to_le_bytes(), |_| panic!("nothing to wait for"));
}

fn read_port(bed: &Bed, port: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xAA; len];
    bed.pio.read(port, &mut data);
    data
}

fn counter(bed: &Bed, name: &str) -> u64 {
    bed.segment.counters().into_iter().find(|(counter, _)| *counter == name).unwrap().1
}

#[test]
fn the_host_bridge_is_found_first() {
    let (bed, _attendant) = Bed::new().unwrap();
    assert_eq!(bed.read_config(Slot::HOST_BRIDGE, 0), 0x0008_1B36);
    assert_eq!(bed.read_config(Slot::HOST_BRIDGE, 8) >> 8, 0x06_0000);
    assert_eq!(bed.segment.functions(), [(Slot::HOST_BRIDGE, "pci-host-bridge".to_owned())]);
    for number in 1..32 {
        assert_eq!(bed.read_config(slot(number), 0), ONES);
    }
    assert_eq!(counter(&bed, "absent_reads"), 31);
    let refused = bed.segment.remove(Slot::HOST_BRIDGE).unwrap_err();
    assert_eq!(refused.state, SlotState::Fixed);
}

#[test]
fn only_function_0_and_the_first_256_bytes_are_there() {
    let (bed, _attendant) = Bed::new().unwrap();
    for other in 1..8 {
        let mut data = [0; 4];
        bed.mmio.read(Bed::ECAM + (other << 12), &mut data);
        assert_eq!(data, [0xFF; 4]);
    }
    for offset in [0x100, 0x104, 0xFFC] {
        assert_eq!(bed.read_config(Slot::HOST_BRIDGE, offset), 0);
        assert!(bed.write_config(Slot::HOST_BRIDGE, offset, &[1; 4]).is_empty());
    }
    assert!(bed.write_config(slot(1), 4, &[7]).is_empty());
    assert_eq!(counter(&bed, "absent_writes"), 1);
}

#[test]
fn both_ways_lead_to_the_same_registers() {
    let (bed, _attendant) = Bed::new().unwrap();
    let at = bed.segment.insert(&function(1).shared()).unwrap();
    assert_eq!(at, slot(1));
    select(&bed, 0x8000_0800);
    assert_eq!(read_port(&bed, 0xCFC, 4), TAGGED.to_le_bytes());
    assert_eq!(read_port(&bed, 0xCFE, 2), [0x42, 0x10]);
    assert_eq!(read_port(&bed, 0xCFD, 1), [0x1A]);
    assert_eq!(bed.read_config(at, 0), TAGGED);
    // The interrupt line register is the guest's.
    select(&bed, 0x8000_083C);
    bed.pio.write(0xCFC, &[0x5A], |_| panic!("nothing to wait for"));
    assert_eq!(bed.read_config(at, 0x3C), 0x5A);
    let mut tickets = 0;
    select(&bed, 0x8000_0804);
    bed.pio.write(0xCFC, &[0x07, 0x04], |_| tickets += 1);
    assert_eq!((tickets, bed.read_config(at, 4) & 0xFFFF), (1, 0x0407));
}

#[test]
fn the_address_port_takes_32_bits_only() {
    let (bed, _attendant) = Bed::new().unwrap();
    select(&bed, ONES);
    assert_eq!(read_port(&bed, 0xCF8, 4), 0x80FF_FFFC_u32.to_le_bytes());
    assert_eq!(read_port(&bed, 0xCFC, 4), [0xFF; 4], "bus 255");
    bed.pio.write(0xCF8, &[0], |_| {});
    bed.pio.write(0xCF8, &[0, 0], |_| {});
    bed.pio.write(0xCF9, &[6], |_| {});
    assert_eq!(read_port(&bed, 0xCF8, 4), 0x80FF_FFFC_u32.to_le_bytes());
    for (port, len) in [(0xCF8, 1), (0xCF8, 2), (0xCF9, 1), (0xCFA, 4)] {
        assert!(read_port(&bed, port, len).iter().all(|byte| *byte == 0xFF));
    }
    select(&bed, 0x0000_0000);
    assert_eq!(read_port(&bed, 0xCFC, 4), [0xFF; 4], "not enabled");
    select(&bed, 0x8000_0100);
    assert_eq!(read_port(&bed, 0xCFC, 4), [0xFF; 4], "function 1");
}

#[test]
fn an_access_over_two_registers_is_undefined_and_counted() {
    let (bed, _attendant) = Bed::new().unwrap();
    let mut data = [0; 8];
    for (offset, len) in [(2, 4), (3, 2), (0, 8)] {
        bed.mmio.read(Bed::ecam(Slot::HOST_BRIDGE, offset), &mut data[..len]);
        assert!(data[..len].iter().all(|byte| *byte == 0xFF));
    }
    assert!(bed.write_config(Slot::HOST_BRIDGE, 0x3A, &[1; 4]).is_empty());
    assert_eq!(bed.read_config(Slot::HOST_BRIDGE, 0x3C), 0);
    assert_eq!(counter(&bed, "undefined_accesses"), 4);
}

#[test]
fn what_moves_bars_leaves_a_ticket_and_nothing_else_does() {
    let (bed, mut attendant) = Bed::new().unwrap();
    let at = bed.segment.insert(&function(1).shared()).unwrap();
    for offset in 0..0x100_u16 {
        let moves = matches!(offset, 0x04..0x06 | 0x10..0x28);
        let tickets = bed.write_config(at, offset, &[0]);
        assert_eq!(tickets.len(), usize::from(moves), "{offset:#x}");
        assert!(tickets.iter().all(|ticket| ticket.outcome().is_none()));
        attendant.round();
        assert!(tickets.iter().all(|ticket| ticket.outcome().is_some()));
    }
}

#[test]
fn functions_get_addresses_that_nobody_else_has() {
    let (bed, _attendant) = Bed::new().unwrap();
    let mut taken: Vec<(bool, u64, u64)> = Vec::new();
    for tag in 1..32 {
        let new = function(tag);
        let at = bed.segment.insert(&new.shared()).unwrap();
        assert_eq!(at.number(), tag);
        assert_eq!(bed.segment.state(at), SlotState::Present);
        for (_, bar) in new.config().bars() {
            assert!(bar.gpa.is_multiple_of(bar.len) && !bar.enabled);
            let window = match bar.space {
                BarSpace::Memory32 => 0xC000_0000..0xF000_0000,
                BarSpace::Memory64 => 1 << 40..(1 << 40) + (1 << 36),
                BarSpace::Io => 0xC000..0x1_0000,
            };
            assert!(window.contains(&bar.gpa) && bar.gpa + bar.len <= window.end);
            taken.push((bar.space == BarSpace::Io, bar.gpa, bar.len));
        }
    }
    for (index, (space, gpa, len)) in taken.iter().enumerate() {
        let mut others = taken[index + 1..].iter().filter(|(other, ..)| other == space);
        assert!(others.all(|(_, other, size)| other + size <= *gpa || gpa + len <= *other));
    }
    assert_eq!(bed.segment.insert(&function(99).shared()), Err(InsertError::Full));
}

#[test]
fn a_function_without_room_leaves_its_slot_empty() {
    let (bed, _attendant) = Bed::new().unwrap();
    let large = Arc::new(Tagged::new(1, &[(0, BarSpace::Memory32, 1 << 30)]).unwrap());
    let refused = bed.segment.insert(&large.shared()).unwrap_err();
    let expected = InsertError::NoRoom { name: "tagged".to_owned(), bar: 0, len: 1 << 30 };
    assert_eq!(refused, expected);
    assert_eq!(bed.segment.state(slot(1)), SlotState::Empty);
    assert_eq!(bed.read_config(slot(1), 0), ONES);
    // 64 bits, and no room above: it goes below.
    let huge = Arc::new(Tagged::new(1, &[(0, BarSpace::Memory64, 1 << 36)]).unwrap());
    let small = Arc::new(Tagged::new(2, &[(0, BarSpace::Memory64, 1 << 16)]).unwrap());
    bed.segment.insert(&huge.shared()).unwrap();
    bed.segment.insert(&small.shared()).unwrap();
    assert_eq!(huge.config().bar(BarIndex(0)).unwrap().gpa, 1 << 40);
    assert_eq!(small.config().bar(BarIndex(0)).unwrap().gpa, 0xC000_0000);
}

#[test]
fn a_slot_is_used_again_only_when_nothing_answers_for_it() {
    let (bed, mut attendant) = Bed::new().unwrap();
    let new = function(7);
    let at = bed.segment.insert(&new.shared()).unwrap();
    assert_eq!(bed.write_config(at, 4, &[3]).len(), 1);
    attendant.round();
    let gpa = new.config().bar(BarIndex(2)).unwrap().gpa;
    assert_eq!(bed.read_memory(gpa), 7);
    bed.segment.ask_removal(at).unwrap();
    bed.segment.ask_removal(at).unwrap();
    assert_eq!(bed.segment.state(at), SlotState::RemovalAsked);
    assert_eq!(bed.read_config(at, 0), TAGGED, "until the guest gives it up");
    bed.segment.eject(at);
    assert_eq!(bed.segment.state(at), SlotState::Ejected);
    assert_eq!(bed.read_config(at, 0), ONES);
    let taken = bed.segment.insert_at(at, &function(8).shared()).unwrap_err();
    assert_eq!(taken, InsertError::Taken { slot: at, state: SlotState::Ejected });
    assert!(bed.gone().is_empty());
    attendant.round();
    assert_eq!(bed.gone(), [at]);
    assert_eq!((bed.segment.state(at), bed.read_memory(gpa)), (SlotState::Empty, 0xFF));
    bed.segment.insert_at(at, &function(8).shared()).unwrap();
    assert_eq!(bed.read_config(at, 0), TAGGED);
}

#[test]
fn an_ejection_of_what_is_not_there_is_counted() {
    let (bed, mut attendant) = Bed::new().unwrap();
    bed.segment.eject(slot(3));
    bed.segment.eject(Slot::HOST_BRIDGE);
    assert_eq!(counter(&bed, "ejections_refused"), 2);
    // A guest may eject what it was not asked for, once.
    let at = bed.segment.insert(&function(1).shared()).unwrap();
    bed.segment.eject(at);
    bed.segment.eject(at);
    attendant.round();
    assert_eq!((counter(&bed, "ejections_refused"), bed.gone()), (3, vec![at]));
    assert!(bed.segment.ask_removal(at).is_err());
}

#[test]
fn a_function_that_comes_and_goes_between_two_rounds_is_told_to_be_gone() {
    let (bed, mut attendant) = Bed::new().unwrap();
    let at = bed.segment.insert(&function(1).shared()).unwrap();
    bed.segment.remove(at).unwrap();
    attendant.round();
    assert_eq!((bed.gone(), bed.segment.state(at)), (vec![at], SlotState::Empty));
}

#[test]
fn two_threads_insert_and_eject_and_every_function_is_gone_once() {
    const EACH: usize = 300;
    let (bed, mut attendant) = Bed::new().unwrap();
    let mut gone = 0;
    std::thread::scope(|scope| {
        let coming_and_going = || {
            for _ in 0..EACH {
                let at = bed.segment.insert(&function(1).shared()).unwrap();
                bed.segment.eject(at);
                while bed.segment.state(at) == SlotState::Ejected {
                    std::thread::yield_now();
                }
            }
        };
        scope.spawn(coming_and_going);
        scope.spawn(coming_and_going);
        while gone < 2 * EACH {
            attendant.round();
            gone += bed.gone().len();
            std::thread::yield_now();
        }
    });
    assert_eq!(bed.segment.functions().len(), 1);
    assert_eq!(counter(&bed, "ejections_refused"), 0);
    assert_eq!((bed.mmio.claims().len(), bed.pio.claims().len()), (1, 1));
}
