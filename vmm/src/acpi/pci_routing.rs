//! `_PRT`: to which pin of the I/O APIC each slot's four interrupt lines are wired (ACPI 6.5, 6.2.13).
//!
//! ```text
//!   slot 1: INTA ▶ 17  INTB ▶ 18  INTC ▶ 19  INTD ▶ 20
//!   slot 2: INTA ▶ 18  INTB ▶ 19  …                       GSI = 16 + (slot + pin) mod 8
//! ```
//!
//! The specification wants the object under every root bridge. It cannot be an empty package, which would say that
//! there are no lines: ACPICA, in Linux as in `iasl`, takes that for a mistake of the firmware. No function here has an interrupt
//! pin (they use MSI-X), so that no system asks for a route as long as it knows only these; the routes are the
//! board's, there whatever is plugged in.
//!
//! Invariants:
//! - every pin of every slot that a function can be in has one route;
//! - no route leads to a line that another device has (all of those are below 16), or beyond the I/O APIC.

use acpi_tables::Aml;
use acpi_tables::aml::{Name, Package, PackageBuilder, Zero};

use super::pci::SLOTS;

/// The first line that no legacy device can have.
const FIRST_GSI: u8 = 16;
/// The lines from there to the I/O APIC's last.
const LINES: u8 = 8;
/// INTA to INTD.
const PINS: u8 = 4;

/// Builds it, for the inside of the root bridge.
pub(super) fn build(aml: &mut Vec<u8>) {
    let mut routes = PackageBuilder::new();
    for slot in 1..SLOTS {
        for pin in 0..PINS {
            // Device in the upper half, all functions in the lower (table 6.14).
            let address = u32::from(slot) << 16 | 0xFFFF;
            let gsi = gsi(slot, pin);
            // No link device: the number after it is the interrupt's, level-triggered and active low as all of PCI's.
            routes.add_element(&Package::new(vec![&address, &pin, &Zero {}, &gsi]));
        }
    }
    Name::new("_PRT".into(), &routes).to_aml_bytes(aml);
}

/// Slots beside each other differ, since most functions use INTA.
fn gsi(slot: u8, pin: u8) -> u8 {
    FIRST_GSI + (slot + pin) % LINES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::layout;

    /// A small integer: an opcode of its own, or one and a byte.
    fn byte(rest: &mut &[u8]) -> u8 {
        let (value, used) = match **rest {
            [value @ (0 | 1), ..] => (value, 1),
            [0x0A, value, ..] => (value, 2),
            ref other => panic!("no byte: {other:x?}"),
        };
        *rest = &rest[used..];
        value
    }

    /// The routes as (slot, pin, GSI), read from the AML.
    fn routes() -> Vec<(u8, u8, u8)> {
        let mut aml = Vec::new();
        build(&mut aml);
        assert!(aml.starts_with(b"\x08_PRT\x12"), "{aml:x?}");
        // PkgLength of two bytes or more: the two upper bits say how many follow the first.
        let more = usize::from(aml[6] >> 6);
        let [count, ref rest @ ..] = aml[7 + more..] else { panic!("{aml:x?}") };
        let mut rest = rest;
        let mut routes = Vec::new();
        while let [0x12, _length, 4, 0x0C, 0xFF, 0xFF, slot, 0, ref others @ ..] = *rest {
            rest = others;
            let [pin, source, gsi] = [(); 3].map(|()| byte(&mut rest));
            assert_eq!(source, 0, "the number is the interrupt's");
            routes.push((slot, pin, gsi));
        }
        assert!(rest.is_empty(), "{rest:x?}");
        assert_eq!(routes.len(), usize::from(count));
        routes
    }

    #[test]
    fn every_pin_of_every_slot_has_one_route() {
        let mut pins: Vec<_> = routes().into_iter().map(|(slot, pin, _)| (slot, pin)).collect();
        pins.sort_unstable();
        let all = (1..SLOTS).flat_map(|slot| (0..PINS).map(move |pin| (slot, pin)));
        assert!(pins.into_iter().eq(all));
    }

    #[test]
    fn routes_lead_to_lines_that_only_pci_has() {
        let (routes, io_apic) = (routes(), 16..24);
        assert!(routes.iter().all(|(_, _, gsi)| io_apic.contains(gsi)), "{routes:?}");
        assert!(u32::from(FIRST_GSI) > layout::GED_GSI);
        // Neighbours share no line, nor do the pins of one slot.
        let of =
            |slot, pin| routes.iter().find(|route| (route.0, route.1) == (slot, pin)).unwrap().2;
        for slot in 1..SLOTS - 1 {
            assert_ne!(of(slot, 0), of(slot + 1, 0));
            for pin in 1..PINS {
                assert_ne!(of(slot, 0), of(slot, pin));
            }
        }
        assert_eq!((of(1, 0), of(1, 3), of(31, 1)), (17, 20, 16));
    }
}
