//! Streams of units: what is written comes back, and whatever is missing, damaged, unknown or of another version is named.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    nanoseconds: u64,
    flags: u32,
}

impl Unit for Clock {
    const KIND: &'static str = "clock";
    const VERSION: u16 = 2;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Vcpu {
    registers: Vec<u64>,
    is_halted: bool,
}

impl Unit for Vcpu {
    const KIND: &'static str = "vcpu";
    const VERSION: u16 = 1;
}

/// The clock as another version of the program has it.
#[derive(Serialize, Deserialize)]
struct OldClock {
    nanoseconds: u64,
}

impl Unit for OldClock {
    const KIND: &'static str = "clock";
    const VERSION: u16 = 1;
}

/// As long as a clock, of its name and version, and no clock.
#[derive(Serialize, Deserialize)]
struct LongClock(u64, u32, u8);

impl Unit for LongClock {
    const KIND: &'static str = "clock";
    const VERSION: u16 = 2;
}

const CLOCK: Clock = Clock { nanoseconds: 0x0123_4567_89AB_CDEF, flags: 5 };

fn vcpu(registers: &[u64]) -> Vcpu {
    Vcpu { registers: registers.to_vec(), is_halted: true }
}

fn stream() -> Vec<u8> {
    let mut writer = StateWriter::new();
    writer.put(&CLOCK).unwrap();
    writer.put_instance("0", &vcpu(&[1, 300])).unwrap();
    writer.put_instance("1", &vcpu(&[])).unwrap();
    writer.finish()
}

#[test]
fn what_is_read_is_what_was_written() {
    let stream = stream();
    let mut reader = StateReader::parse(&stream).unwrap();
    assert_eq!(reader.take_instance::<Vcpu>("1").unwrap(), vcpu(&[]));
    assert_eq!(reader.take::<Clock>().unwrap(), CLOCK);
    assert_eq!(reader.take_instance::<Vcpu>("0").unwrap(), vcpu(&[1, 300]));
    reader.finish().unwrap();
}

#[test]
fn what_other_threads_encode_and_decode_is_the_same() {
    let mut writer = StateWriter::new();
    writer.put(&CLOCK).unwrap();
    for (instance, registers) in [("0", &[1, 300][..]), ("1", &[])] {
        writer.put_encoded(EncodedUnit::instance(instance, &vcpu(registers)).unwrap()).unwrap();
    }
    let again = EncodedUnit::instance("1", &vcpu(&[2])).unwrap();
    let duplicate = FormatError::Duplicate { unit: "vcpu/1".to_owned() };
    assert_eq!(writer.put_encoded(again), Err(duplicate));
    let bytes = writer.finish();
    assert_eq!(bytes, stream());
    let mut reader = StateReader::parse(&bytes).unwrap();
    let first = reader.take_encoded::<Vcpu>("0").unwrap();
    assert_eq!(first.decode::<Vcpu>().unwrap(), vcpu(&[1, 300]));
    let missing = FormatError::Missing { unit: "vcpu/0".to_owned() };
    assert_eq!(reader.take_encoded::<Vcpu>("0").unwrap_err(), missing);
    let other = reader.take_encoded::<Vcpu>("1").unwrap().decode::<Clock>().unwrap_err();
    assert!(other.to_string().contains("vcpu/1"), "{other}");
    reader.take::<Clock>().unwrap();
    reader.finish().unwrap();
}

/// The bytes of version 1, which no change of the program may change.
#[test]
fn the_bytes_of_version_1_are_those_of_the_golden_file() {
    let golden = include_bytes!("../../tests/golden/state-v1");
    assert_eq!(stream(), golden);
    assert_eq!(FORMAT_VERSION, 1, "a new version has a golden file of its own");
}

#[test]
fn a_unit_that_is_missing_is_named() {
    let stream = stream();
    let mut reader = StateReader::parse(&stream).unwrap();
    let missing = |unit: &str| Some(FormatError::Missing { unit: unit.to_owned() });
    assert_eq!(reader.take_instance::<Vcpu>("2").err(), missing("vcpu/2"));
    assert_eq!(reader.take::<Vcpu>().err(), missing("vcpu"));
    assert_eq!(reader.take::<Clock>(), Ok(CLOCK));
    assert_eq!(reader.take::<Clock>().err(), missing("clock"));
}

#[test]
fn units_that_nobody_knows_are_named() {
    let stream = stream();
    let mut reader = StateReader::parse(&stream).unwrap();
    reader.take_instance::<Vcpu>("0").unwrap();
    let units = vec!["clock".to_owned(), "vcpu/1".to_owned()];
    assert_eq!(reader.finish(), Err(FormatError::LeftOver { units }));
}

#[test]
fn a_unit_is_written_once() {
    let mut writer = StateWriter::new();
    writer.put(&CLOCK).unwrap();
    let twice = Err(FormatError::Duplicate { unit: "clock".to_owned() });
    assert_eq!(writer.put(&CLOCK), twice);
}

#[test]
fn a_unit_that_is_there_twice_is_named() {
    let mut writer = StateWriter::new();
    writer.put(&CLOCK).unwrap();
    let once = writer.finish();
    let header = layout::stream_header(2);
    let twice = [&header[..], &once[header.len()..], &once[header.len()..]].concat();
    let error = StateReader::parse(&twice).unwrap_err();
    assert_eq!(error, FormatError::Duplicate { unit: "clock".to_owned() });
}

#[test]
fn another_version_of_a_unit_is_named_with_both_versions() {
    let stream = stream();
    let mut reader = StateReader::parse(&stream).unwrap();
    let error = reader.take::<OldClock>().err();
    let unit = "clock".to_owned();
    assert_eq!(error, Some(FormatError::UnitVersion { unit, found: 2, known: 1 }));
}

#[test]
fn a_payload_that_is_too_long_or_too_short_for_its_type_is_named() {
    let mut writer = StateWriter::new();
    writer.put(&LongClock(1, 2, 3)).unwrap();
    let long = writer.finish();
    let error = StateReader::parse(&long).unwrap().take::<Clock>().unwrap_err();
    assert_eq!(error, FormatError::LeftOverBytes { unit: "clock".to_owned(), bytes: 1 });
    let stream = stream();
    let error = StateReader::parse(&stream).unwrap().take::<LongClock>().err().unwrap();
    assert!(matches!(error, FormatError::Payload { unit, .. } if unit == "clock"));
}

#[test]
fn another_format_is_told_by_its_version() {
    let mut newer = stream();
    newer[8] = 7;
    assert_eq!(StateReader::parse(&newer).unwrap_err(), FormatError::FormatVersion { found: 7 });
    assert_eq!(StateReader::parse(b"{\"a\": 1}").unwrap_err(), FormatError::Magic);
}

#[test]
fn names_that_are_none_are_refused() {
    let mut writer = StateWriter::new();
    for instance in ["a\nb".to_owned(), "x".repeat(MAX_NAME)] {
        let error = writer.put_instance(&instance, &CLOCK).unwrap_err();
        assert!(matches!(error, FormatError::Name { .. }), "{error}");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let stream = stream();
    for end in 0..stream.len() {
        StateReader::parse(&stream[..end]).unwrap_err();
    }
    for bit in 0..stream.len() * 8 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        StateReader::parse(&damaged).unwrap_err();
    }
    let error = StateReader::parse(&[&stream[..], b"x"].concat()).unwrap_err();
    assert_eq!(error, FormatError::TrailingBytes { bytes: 1, last: "vcpu/1".to_owned() });
}

#[test]
fn damage_within_a_unit_names_it() {
    let mut stream = stream();
    let last = stream.len() - 1;
    stream[last] ^= 1;
    let error = StateReader::parse(&stream).unwrap_err();
    assert_eq!(error, FormatError::UnitChecksum { unit: "vcpu/1".to_owned() });
}

/// A few bytes that promise a vector of 2^60 elements are an error, and no allocation of that size.
#[test]
fn a_promise_of_more_than_there_is_is_an_error() {
    #[derive(Serialize, Deserialize)]
    struct Promise(u64, bool);
    impl Unit for Promise {
        const KIND: &'static str = "vcpu";
        const VERSION: u16 = 1;
    }
    let mut writer = StateWriter::new();
    writer.put(&Promise(1 << 60, true)).unwrap();
    let stream = writer.finish();
    let error = StateReader::parse(&stream).unwrap().take::<Vcpu>().unwrap_err();
    assert!(matches!(error, FormatError::Payload { .. }), "{error}");
}

proptest! {
    #[test]
    fn any_units_come_back_in_any_order(
        units in prop::collection::btree_map("[a-z0-9-]{1,8}", prop::collection::vec(any::<u64>(), 0..8), 0..8),
    ) {
        let mut writer = StateWriter::new();
        for (instance, registers) in &units {
            writer.put_instance(instance, &vcpu(registers)).unwrap();
        }
        let stream = writer.finish();
        let mut reader = StateReader::parse(&stream).unwrap();
        prop_assert_eq!(reader.summary().count(), units.len());
        let mut back = BTreeMap::new();
        for instance in units.keys().rev() {
            let vcpu: Vcpu = reader.take_instance(instance).unwrap();
            back.insert(instance.clone(), vcpu.registers);
        }
        prop_assert_eq!(back, units);
        reader.finish().unwrap();
    }
}
