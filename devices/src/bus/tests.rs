use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// Answers each read with its tag, and counts.
struct Tagged {
    tag: u8,
    accesses: AtomicU64,
    last_offset: AtomicU64,
}

impl Tagged {
    fn new(tag: u8) -> Arc<Self> {
        Arc::new(Self { tag, accesses: AtomicU64::new(0), last_offset: AtomicU64::new(0) })
    }
}

impl BusDevice for Tagged {
    fn name(&self) -> &'static str {
        "tagged"
    }
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(self.tag);
        self.last_offset.store(offset, Ordering::Relaxed);
        self.accesses.fetch_add(1, Ordering::Relaxed);
    }
    fn write(&self, offset: u64, _data: &[u8]) -> Written {
        self.last_offset.store(offset, Ordering::Relaxed);
        self.accesses.fetch_add(1, Ordering::Relaxed);
        Written::Done
    }
}

fn ports(start: u64, len: u64) -> AddressRange<Pio> {
    AddressRange::new(start, len).unwrap()
}

fn read<S: AddressSpace>(bus: &Bus<S>, address: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    bus.read(address, &mut data);
    data
}

#[test]
fn ranges_are_checked() {
    assert!(AddressRange::<Pio>::new(0xFFFF, 1).is_ok());
    assert!(AddressRange::<Mmio>::new(u64::MAX, 1).is_ok());
    assert!(AddressRange::<Mmio>::new(1, u64::MAX).is_ok());
    for (start, len) in [(0, 0), (0x1_0000, 1), (0xFFFF, 2), (0, u64::MAX)] {
        let error = AddressRange::<Pio>::new(start, len).unwrap_err().to_string();
        assert!(error.contains("I/O ports") && error.contains("0xffff"), "{error}");
    }
    assert!(AddressRange::<Mmio>::new(2, u64::MAX).is_err());
}

#[test]
fn overlap_names_both_ranges_and_changes_nothing() {
    let bus = Bus::<Pio>::new();
    bus.publish(ports(0x3F8, 8), Tagged::new(1)).unwrap();
    for range in [ports(0x3F0, 9), ports(0x3FF, 1), ports(0x3FA, 2), ports(0, 0x1_0000)] {
        let error = bus.publish(range, Tagged::new(2)).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "I/O ports {range} (tagged) overlap 0x3f8-0x3ff (tagged), which is claimed already"
            )
        );
    }
    assert_eq!(bus.claims().len(), 1);
    bus.publish(ports(0x3F0, 8), Tagged::new(2)).unwrap();
    bus.publish(ports(0x400, 8), Tagged::new(3)).unwrap();
    assert_eq!(read(&bus, 0x3F8, 1), [1]);
}

#[test]
fn unclaimed_reads_are_all_ones_and_counted() {
    let bus = Bus::<Mmio>::new();
    assert_eq!(read(&bus, 0x1000, 8), [0xFF; 8]);
    bus.write(0x1000, &[1, 2], |_| panic!("nothing to wait for"));
    bus.write(u64::MAX, &[1], |_| panic!("nothing to wait for"));
    assert_eq!(bus.counters(), [("unclaimed_reads", 1), ("unclaimed_writes", 2)]);
}

#[test]
fn an_access_is_split_at_borders() {
    let bus = Bus::<Pio>::new();
    let (low, high) = (Tagged::new(1), Tagged::new(2));
    bus.publish(ports(0x10, 2), low.clone()).unwrap();
    bus.publish(ports(0x14, 1), high.clone()).unwrap();
    assert_eq!(read(&bus, 0x11, 4), [1, 0xFF, 0xFF, 2]);
    assert_eq!(read(&bus, 0x0F, 8), [0xFF, 1, 1, 0xFF, 0xFF, 2, 0xFF, 0xFF]);
    assert_eq!(low.last_offset.load(Ordering::Relaxed), 0);
    bus.write(0x13, &[0; 2], |_| panic!("nothing to wait for"));
    assert_eq!(high.accesses.load(Ordering::Relaxed), 3);
    // Ports wrap after 0xFFFF.
    bus.publish(ports(0, 1), Tagged::new(7)).unwrap();
    assert_eq!(read(&bus, 0xFFFF, 2), [0xFF, 7]);
}

#[test]
fn retire_and_relocate() {
    let bus = Bus::<Mmio>::new();
    let here = AddressRange::new(0x1000, 0x10).unwrap();
    let there = AddressRange::new(0x1008, 0x10).unwrap();
    let taken = AddressRange::new(0x2000, 1).unwrap();
    bus.publish(here, Tagged::new(1)).unwrap();
    bus.publish(taken, Tagged::new(2)).unwrap();
    bus.relocate(here, there).unwrap();
    assert_eq!(read(&bus, 0x1007, 1), [0xFF]);
    assert_eq!(read(&bus, 0x1017, 1), [1]);
    let onto_other = AddressRange::new(0x1FFF, 2).unwrap();
    assert!(matches!(bus.relocate(there, onto_other), Err(BusError::Overlap { .. })));
    assert_eq!(read(&bus, 0x1008, 1), [1]);
    assert_eq!(
        bus.retire(here).err().map(|e| e.to_string()).unwrap(),
        "no device has claimed the guest physical addresses 0x1000-0x100f"
    );
    assert_eq!(bus.retire(there).ok().unwrap().name(), "tagged");
    assert_eq!(bus.claims().len(), 1);
}

#[test]
fn a_retired_device_is_let_go() {
    let bus = Bus::<Pio>::new();
    let device = Tagged::new(1);
    bus.publish(ports(1, 1), device.clone()).unwrap();
    read(&bus, 1, 1);
    drop(bus.retire(ports(1, 1)).unwrap());
    assert_eq!(Arc::strong_count(&device), 1);
}

/// Two threads move and republish while two look up: nobody ever sees a device outside its
/// ranges, and no change is lost.
#[test]
fn changes_from_several_threads_all_take_effect() {
    const ROUNDS: u64 = 2_000;
    let bus = Bus::<Mmio>::new();
    let range = |start| AddressRange::<Mmio>::new(start, 0x10).unwrap();
    bus.publish(range(0x5000), Tagged::new(5)).unwrap();
    std::thread::scope(|scope| {
        for base in [0x1000_u64, 0x3000] {
            let bus = &bus;
            scope.spawn(move || {
                let tag = u8::try_from(base >> 12).unwrap();
                bus.publish(range(base), Tagged::new(tag)).unwrap();
                for _ in 0..ROUNDS {
                    bus.relocate(range(base), range(base + 0x100)).unwrap();
                    bus.relocate(range(base + 0x100), range(base)).unwrap();
                }
            });
            scope.spawn(move || {
                let tag = u8::try_from(base >> 12).unwrap();
                for _ in 0..ROUNDS {
                    assert_eq!(read(bus, 0x5000, 1), [5]);
                    for address in [base, base + 0x100] {
                        let seen = read(bus, address, 1)[0];
                        assert!(seen == tag || seen == 0xFF, "{seen:#x} at {address:#x}");
                    }
                }
            });
        }
    });
    let firsts: Vec<u64> = bus.claims().iter().map(|(range, _)| range.first()).collect();
    assert_eq!(firsts, [0x1000, 0x3000, 0x5000]);
}

proptest! {
    /// The bus agrees with a table of single addresses, whatever is published and retired.
    #[test]
    fn agrees_with_a_table(steps in prop::collection::vec((0u64..64, 1u64..10, any::<bool>()), 1..60)) {
        let bus = Bus::<Pio>::new();
        let mut table = BTreeMap::<u64, (AddressRange<Pio>, u8)>::new();
        for (tag, (start, len, add)) in (1u8..).zip(steps) {
            let range = ports(start, len);
            if add {
                let free = (start..start + len).all(|address| !table.contains_key(&address));
                prop_assert_eq!(bus.publish(range, Tagged::new(tag)).is_ok(), free);
                if free {
                    table.extend((start..start + len).map(|address| (address, (range, tag))));
                }
            } else {
                let there = table.get(&start).is_some_and(|(claimed, _)| *claimed == range);
                prop_assert_eq!(bus.retire(range).is_ok(), there);
                if there {
                    table.retain(|_, (claimed, _)| *claimed != range);
                }
            }
            let expected: Vec<u8> =
                (0..80).map(|address| table.get(&address).map_or(0xFF, |(_, tag)| *tag)).collect();
            prop_assert_eq!(read(&bus, 0, 80), expected);
        }
    }
}
