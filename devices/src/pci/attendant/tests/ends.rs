//! Functions that go, and an attendant that does.
use super::*;
use crate::bus::Written;
use crate::pci::config::{ConfigBuilder, ConfigSpace};
use crate::pci::msix::{Msix, MsixPlacement};

#[test]
fn an_ejected_function_has_no_place_no_doorbell_and_no_route() {
    let (bed, mut attendant) = Bed::new().unwrap();
    let placement = MsixPlacement {
        vectors: 1,
        table_bar: BAR,
        table_offset: 0x800,
        pending_bar: BAR,
        pending_offset: 0xC00,
    };
    let mut builder = ConfigBuilder::new(Tagged::IDENTITY);
    builder.add_bar(BAR, BarSpace::Memory32, LEN).unwrap();
    let capability = u16::from(builder.add_msix(placement).unwrap());
    let msix = Msix::new(&*bed.platform, 1, bed.segment.work()).unwrap();
    let function = Arc::new(Tagged::with_config(1, builder.build()).with_msix(msix));
    let at = bed.segment.insert(&function.shared()).unwrap();
    let line = Arc::clone(&bed.platform.lines()[0]);
    let msix = function.msix().unwrap();
    for register in 0..4 {
        let _ = msix.write_table(4 * register, &[0; 4]);
    }
    attendant.round();
    assert_eq!(line.message(), None, "MSI-X is not enabled");
    let tickets = bed.write_config(at, capability + 2, &[0, 0x80]);
    attendant.round();
    assert!(tickets.len() == 1 && done(&tickets));
    msix.raise(0);
    assert_eq!(line.raised().len(), 1);
    let _ = bed.write_config(at, capability + 2, &[0, 0xC0]);
    msix.raise(0);
    assert!(line.raised().is_empty(), "masked as a whole, at once");
    let _ = bed.write_config(at, 4, &[MEMORY]);
    attendant.round();
    bed.segment.remove(at).unwrap();
    attendant.round();
    assert_eq!((line.message(), bed.mmio.claims().len()), (None, 1));
    assert_eq!((bed.platform.doorbells().len(), bed.platform.mistakes()), (0, 0));
}

/// Does what it is told to in a round.
struct Panicking(ConfigSpace);

impl PciFunction for Panicking {
    fn name(&self) -> &'static str {
        "panicking"
    }
    fn config(&self) -> &ConfigSpace {
        &self.0
    }
    fn read_bar(&self, _bar: BarIndex, _offset: u64, _data: &mut [u8]) {}
    fn write_bar(&self, _bar: BarIndex, _offset: u64, _data: &[u8]) -> Written {
        Written::Done
    }
    fn reconcile(&self) {
        panic!("in the middle of a round");
    }
}

#[test]
fn an_attendant_that_panics_fails_its_tickets_and_all_later_ones() {
    let (bed, attendant) = Bed::new().unwrap();
    let ids = ConfigBuilder::new(Tagged::IDENTITY).build();
    let function: Arc<dyn PciFunction> = Arc::new(Panicking(ids));
    bed.segment.insert(&function).unwrap();
    let asked = bed.write_config(slot(1), 4, &[MEMORY]);
    assert!(std::thread::spawn(|| attendant.run()).join().is_err());
    let late = bed.write_config(slot(1), 4, &[MEMORY]);
    assert_eq!(asked[0].outcome(), Some(Outcome::Failed));
    assert_eq!(late[0].outcome(), Some(Outcome::Failed));
}

#[test]
fn a_stop_ends_it() {
    let (bed, attendant) = Bed::new().unwrap();
    let thread = std::thread::spawn(|| attendant.run());
    bed.segment.stop();
    thread.join().unwrap();
    let late = bed.write_config(Slot::HOST_BRIDGE, 4, &[MEMORY]);
    assert_eq!(late[0].outcome(), Some(Outcome::Failed));
}
