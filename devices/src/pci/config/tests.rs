use proptest::prelude::*;

use super::*;

const IDENTITY: Identity = Identity {
    vendor: 0x1AF4,
    device: 0x1041,
    revision: 7,
    class: 0x02_0304,
    subsystem_vendor: 0x1AF5,
    subsystem: 0x1100,
};

fn word(space: &ConfigSpace, offset: u16) -> u32 {
    let mut data = [0; 4];
    space.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn with_bar(index: u8, kind: BarSpace, len: u64) -> ConfigSpace {
    let mut builder = ConfigBuilder::new(IDENTITY);
    builder.add_bar(BarIndex(index), kind, len).unwrap();
    builder.build()
}

#[test]
fn the_header_says_what_it_is() {
    let space = ConfigBuilder::new(IDENTITY).build();
    assert_eq!(word(&space, 0x00), 0x1041_1AF4);
    assert_eq!(word(&space, 0x08), 0x0203_0407);
    assert_eq!(word(&space, 0x2C), 0x1100_1AF5);
    assert_eq!(word(&space, 0x0C) >> 16 & 0xFF, 0, "a type-0 header of the only function");
    assert_eq!((word(&space, 0x04), word(&space, 0x34)), (0, 0), "no chain");
}

#[test]
fn beyond_the_space_are_zeros() {
    let space = ConfigBuilder::new(IDENTITY).build();
    let mut data = [0xAA; 8];
    space.write(0xFC, &[0xFF; 8]);
    space.read(0xFC, &mut data);
    assert_eq!(data, [0; 8]);
    space.write(0xFFFF, &[0xFF; 4]);
    space.read(0xFFFF, &mut data);
    assert_eq!(data, [0; 8]);
}

/// The procedure of PCI Local Bus 3.0, 6.2.5.1, for every size there is.
#[test]
fn every_size_is_found_by_writing_all_ones() {
    for (kind, attributes) in
        [(BarSpace::Memory32, 0b0000), (BarSpace::Memory64, 0b0100), (BarSpace::Io, 0b01)]
    {
        let (smallest, largest) = kind.sizes();
        let mut len = smallest;
        while len <= largest {
            let space = with_bar(1, kind, len);
            space.write(0x04, &[0x03, 0]);
            assert_eq!(u64::from(word(&space, 0x14)), attributes);
            space.write(0x14, &[0xFF; 8]);
            let (low, high) = (word(&space, 0x14), word(&space, 0x18));
            let bits = if kind == BarSpace::Io { !0x3_u32 } else { !0xF };
            let found = match kind {
                BarSpace::Memory64 => !(u64::from(high) << 32 | u64::from(low & bits)) + 1,
                BarSpace::Memory32 | BarSpace::Io => u64::from(!(low & bits)) + 1,
            };
            assert_eq!(found, len, "{kind:?}");
            assert_eq!(u64::from(low & !bits), attributes, "attributes stay");
            let bar = space.bar(BarIndex(1)).unwrap();
            assert_eq!(bar.answers_at(), None, "all ones is no address");
            len *= 2;
        }
    }
}

#[test]
fn a_bar_answers_where_its_register_says_while_the_command_register_lets_it() {
    for (kind, enable, gpa) in [
        (BarSpace::Memory32, 0x02, 0xC000_4000),
        (BarSpace::Memory64, 0x02, 0x12_3456_4000),
        (BarSpace::Io, 0x01, 0xC100),
    ] {
        let len = if kind == BarSpace::Io { 0x100 } else { 0x4000 };
        let space = with_bar(2, kind, len);
        space.set_bar(BarIndex(2), gpa + 1);
        let bar = space.bar(BarIndex(2)).unwrap();
        assert_eq!(bar, BarState { gpa, len, space: kind, enabled: false });
        assert_eq!(bar.answers_at(), None);
        space.write(0x04, &[0x03 ^ enable]);
        assert_eq!(space.bar(BarIndex(2)).unwrap().answers_at(), None, "the other space");
        space.write(0x04, &[enable]);
        assert_eq!(space.bar(BarIndex(2)).unwrap().answers_at(), Some(gpa));
        space.set_bar(BarIndex(2), 0);
        assert_eq!(space.bar(BarIndex(2)).unwrap().answers_at(), None, "0 is no address");
        assert_eq!(space.bars().count(), 1);
    }
    let beyond_the_ports = with_bar(0, BarSpace::Io, 0x10);
    beyond_the_ports.write(0x04, &[0x01]);
    beyond_the_ports.set_bar(BarIndex(0), 0x1_0000);
    assert_eq!(beyond_the_ports.bar(BarIndex(0)).unwrap().answers_at(), None);
}

#[test]
fn bars_that_cannot_be() {
    let mut builder = ConfigBuilder::new(IDENTITY);
    for (index, kind, len) in [
        (0, BarSpace::Memory32, 8),
        (0, BarSpace::Memory32, 0x3000),
        (0, BarSpace::Memory32, 1 << 32),
        (0, BarSpace::Io, 0x200),
        (0, BarSpace::Io, 0),
        (6, BarSpace::Io, 4),
        (5, BarSpace::Memory64, 16),
        (255, BarSpace::Memory64, 16),
    ] {
        assert!(builder.add_bar(BarIndex(index), kind, len).is_err(), "{index} {kind:?} {len:#x}");
    }
    builder.add_bar(BarIndex(2), BarSpace::Memory64, 1 << 40).unwrap();
    for index in [1, 2, 3] {
        let taken = builder.add_bar(BarIndex(index), BarSpace::Memory64, 16).map(|_| ());
        assert_eq!(taken, Err(ConfigError::BarTaken(index)));
    }
    assert_eq!(builder.build().bar(BarIndex(3)), None, "the upper half");
    assert_eq!(builder.build().bar(BarIndex(200)), None);
}

#[test]
fn capabilities_are_chained_in_order_and_written_through_their_masks() {
    let mut builder = ConfigBuilder::new(IDENTITY);
    let first = builder.add_capability(&[0x09, 0xEE, 5, 1, 2], &[0xFF; 5]).unwrap();
    let second = builder.add_capability(&[0x11, 0], &[0, 0]).unwrap();
    let third = builder.add_capability(&[0x05, 0, 0xF0, 0x0F], &[0, 0, 0x0F, 0]).unwrap();
    assert_eq!((first, second, third), (0x40, 0x48, 0x4C));
    let space = builder.build();
    assert_eq!(word(&space, 0x04) >> 20 & 1, 1, "the status register says that there is a chain");
    assert_eq!(word(&space, 0x34), 0x40);
    assert_eq!(word(&space, 0x40), 0x0105_4809);
    assert_eq!(word(&space, 0x48), 0x4C11);
    space.write(0x40, &[0; 5]);
    assert_eq!(
        word(&space, 0x40),
        0x4809,
        "id and pointer are not the guest's, whatever the mask says"
    );
    space.write(0x4C, &[0xFF; 4]);
    assert_eq!(word(&space, 0x4C), 0x0FFF_0005);
}

#[test]
fn capabilities_that_cannot_be() {
    let mut builder = ConfigBuilder::new(IDENTITY);
    assert!(builder.add_capability(&[5], &[0]).is_err());
    assert!(builder.add_capability(&[5, 0, 1], &[0, 0]).is_err());
    assert!(builder.add_capability(&[0; 193], &[0; 193]).is_err());
    builder.add_capability(&[9; 190], &[0; 190]).unwrap();
    assert_eq!(
        builder.add_capability(&[5, 0], &[0, 0]),
        Err(ConfigError::NoRoom { len: 2, at: 0x100 })
    );
}

#[test]
fn writes_of_two_vcpus_to_different_bytes_of_a_register_both_take_effect() {
    let space = with_bar(0, BarSpace::Memory32, 16);
    std::thread::scope(|scope| {
        for lane in 1..4_u16 {
            let space = &space;
            scope.spawn(move || {
                for value in (0..=255).cycle().take(20_000) {
                    space.write(0x10 + lane, &[value]);
                    let mut seen = [0];
                    space.read(0x10 + lane, &mut seen);
                    assert_eq!(seen[0], value);
                }
            });
        }
    });
}

/// The specification's view: bytes, each with the bits that can be written.
struct Model {
    bytes: Vec<u8>,
    writable: Vec<u8>,
}

impl Model {
    /// What the functions below have: a 64-bit BAR of 16 KiB at index 0, an I/O BAR of 32 ports at index 3,
    /// a capability with a mask at 0x40.
    fn new(space: &ConfigSpace) -> Self {
        let mut bytes = vec![0; 256];
        space.read(0, &mut bytes);
        let mut writable = vec![0; 256];
        writable[0x04] = 0x07;
        writable[0x05] = 0x04;
        writable[0x0C] = 0xFF;
        writable[0x3C] = 0xFF;
        writable[0x10..0x18].copy_from_slice(&(!0x3FFF_u64).to_le_bytes());
        writable[0x1C..0x20].copy_from_slice(&(!0x1F_u32).to_le_bytes());
        writable[0x42] = 0xA5;
        writable[0x43] = 0xFF;
        Self { bytes, writable }
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        for (at, value) in (usize::from(offset)..256).zip(data) {
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | value & mask;
        }
    }
}

fn modelled() -> ConfigSpace {
    let mut builder = ConfigBuilder::new(IDENTITY);
    builder.add_bar(BarIndex(0), BarSpace::Memory64, 0x4000).unwrap();
    builder.add_bar(BarIndex(3), BarSpace::Io, 0x20).unwrap();
    builder.add_capability(&[9, 0, 0x12, 0x34], &[0, 0, 0xA5, 0xFF]).unwrap();
    builder.build()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Accesses of any size, odd and over the borders of registers.
    #[test]
    fn agrees_with_a_table_of_bytes(
        writes in prop::collection::vec((0..0x110_u16, prop::collection::vec(any::<u8>(), 1..9)), 0..60),
    ) {
        let space = modelled();
        let mut model = Model::new(&space);
        for (offset, data) in writes {
            space.write(offset, &data);
            model.write(offset, &data);
            let mut seen = vec![0; 256];
            for (at, byte) in seen.iter_mut().enumerate() {
                space.read(u16::try_from(at).unwrap(), std::slice::from_mut(byte));
            }
            prop_assert_eq!(&seen, &model.bytes);
            let mut whole = vec![0; 256];
            space.read(0, &mut whole);
            prop_assert_eq!(&whole, &model.bytes);
            let gpa = u64::from_le_bytes(model.bytes[0x10..0x18].try_into().unwrap()) & !0x3FFF;
            let bar = space.bar(BarIndex(0)).unwrap();
            prop_assert_eq!((bar.gpa, bar.enabled), (gpa, model.bytes[4] & 2 != 0));
        }
    }
}
