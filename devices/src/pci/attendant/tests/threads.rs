//! BARs move while vCPUs reach for them.
use super::*;
use crate::bus::{AddressRange, Mmio};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Two vCPUs move the BARs of two functions among places of which some are the first's only, some the second's
/// only and some both's, while two more read there, and the attendant serves.
#[test]
fn while_bars_move_an_access_reaches_the_right_function_or_nobody() {
    const MOVES: u64 = 1_500;
    let place = |index: u64| 0xD000_0000 + index * LEN;
    let guest = Guest::new(2);
    let Guest { bed, attendant, functions } = guest;
    let stop = AtomicBool::new(false);
    let moving = |tag: u8, first: u64| {
        // Places 0 to 2 are the first's, 2 to 4 the second's; the upper half of the BAR is 0 from the start.
        let bed = &bed;
        move || {
            for turn in 0..MOVES {
                let low = u32::try_from(place(first + turn % 3)).unwrap().to_le_bytes();
                for ticket in bed.write_config(slot(tag), REGISTER, &low) {
                    while ticket.outcome().is_none() {
                        std::thread::yield_now();
                    }
                    assert_eq!(ticket.outcome(), Some(Outcome::Done));
                }
            }
        }
    };
    for tag in [1, 2] {
        bed.write_config(slot(tag), REGISTER + 4, &[0; 4]);
    }
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| attendant.run());
        let vcpus = [scope.spawn(moving(1, 0)), scope.spawn(moving(2, 2))];
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for index in 0..5 {
                        let tag = bed.read_memory(place(index));
                        let allowed: &[u8] = match index {
                            0 | 1 => &[1, 0xFF],
                            2 => &[1, 2, 0xFF],
                            _ => &[2, 0xFF],
                        };
                        assert!(allowed.contains(&tag), "{tag} answers at place {index}");
                    }
                }
            });
        }
        let ended = vcpus.map(std::thread::ScopedJoinHandle::join);
        stop.store(true, Ordering::Relaxed);
        bed.segment.stop();
        serving.join().unwrap();
        assert!(ended.iter().all(Result::is_ok));
    });
    // The attendant has answered every write.
    for (tag, function) in (1..).zip(&functions) {
        let gpa = function.config().bar(BAR).unwrap().gpa;
        assert_eq!(bed.read_memory(gpa), tag);
    }
    assert_eq!(bed.platform.mistakes(), 0);
}

/// Every map that anybody can see has it at one of the two.
#[test]
fn a_bar_that_moves_is_never_at_two_places() {
    let mut guest = Guest::new(1);
    let (here, there) = (0xD000_0000, 0xD000_1000);
    let _ = guest.place(1, here);
    guest.attendant.round();
    let range = |at| AddressRange::<Mmio>::new(at, LEN).unwrap();
    let Guest { bed, mut attendant, .. } = guest;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let claims = bed.mmio.claims();
                let at = |at| claims.iter().filter(|(claim, _)| *claim == range(at)).count();
                assert_eq!(at(here) + at(there), 1, "{claims:?}");
            }
        });
        for turn in 0..3_000 {
            let to: u32 = if turn % 2 == 0 { 0xD000_1000 } else { 0xD000_0000 };
            let _ = bed.write_config(slot(1), REGISTER, &to.to_le_bytes());
            attendant.round();
        }
        stop.store(true, Ordering::Relaxed);
        looking.join().unwrap();
    });
}
