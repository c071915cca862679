//! State that is damaged, or another VM's, is an error that names the unit.

use migration::format::{StateReader, StateWriter, Unit};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use super::bed::{Bed, embedded, is_there_kvm};
use crate::vm::Start;
use crate::vm::state::StateError;
use crate::vm::state::kvm::clock::Clock;
use crate::vm::state::kvm::cpuid::Cpuid;
use crate::vm::state::kvm::irqchips::IrqChips;
use crate::vm::state::kvm::machine::Machine;
use crate::vm::state::kvm::pit::Pit;
use crate::vm::state::kvm::vcpu::VcpuUnit;

/// A VM to give state to; two vCPUs.
fn held() -> Bed {
    Bed::build(embedded(2, "quiet"), Start::Restore { ram: None })
}

/// The payload of a unit, as bytes.
struct Raw<T>(Vec<u8>, std::marker::PhantomData<T>);

impl<T> Serialize for Raw<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }
}

impl<'de, T> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("it is only written"))
    }
}

impl<T: Unit> Unit for Raw<T> {
    const KIND: &'static str = T::KIND;
    const VERSION: u16 = T::VERSION;
}

/// Names and payloads of the units of a stream, by its layout (docs/migration.md).
fn units(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut units = Vec::new();
    let mut rest = &stream[20..];
    while !rest.is_empty() {
        let name = usize::from(u16::from_le_bytes(rest[6..8].try_into().unwrap()));
        let payload = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let end = 16 + name + payload;
        let text = String::from_utf8(rest[16..16 + name].to_vec()).unwrap();
        units.push((text, rest[16 + name..end].to_vec()));
        rest = &rest[end..];
    }
    units
}

/// The stream of these units.
fn stream(units: &[(String, Vec<u8>)]) -> Vec<u8> {
    fn put<T: Unit>(writer: &mut StateWriter, instance: Option<&str>, payload: &[u8]) {
        let raw = Raw::<T>(payload.to_vec(), std::marker::PhantomData);
        match instance {
            None => writer.put(&raw).unwrap(),
            Some(instance) => writer.put_instance(instance, &raw).unwrap(),
        }
    }
    let mut writer = StateWriter::new();
    for (name, payload) in units {
        let (kind, instance) = match name.split_once('/') {
            Some((kind, instance)) => (kind, Some(instance)),
            None => (name.as_str(), None),
        };
        let put = match kind {
            Machine::KIND => put::<Machine>,
            Cpuid::KIND => put::<Cpuid>,
            Clock::KIND => put::<Clock>,
            Pit::KIND => put::<Pit>,
            IrqChips::KIND => put::<IrqChips>,
            VcpuUnit::KIND => put::<VcpuUnit>,
            _ => continue,
        };
        put(&mut writer, instance, payload);
    }
    writer.finish()
}

/// The KVM half of a VM's state.
fn kvm_half(bed: &Bed) -> Vec<(String, Vec<u8>)> {
    units(&stream(&units(&bed.saved())))
}

fn restore(bed: &mut Bed, units: &[(String, Vec<u8>)]) -> Result<(), StateError> {
    let stream = stream(units);
    let mut reader = StateReader::parse(&stream).unwrap();
    let held = bed.vm.held.take().unwrap();
    let restored = super::super::restore(&mut bed.vm, &held, &mut reader).map(drop);
    bed.vm.held = Some(held);
    restored?;
    Ok(reader.finish()?)
}

#[test]
fn a_unit_that_is_missing_is_named() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = held();
    let whole = kvm_half(&bed);
    let names: Vec<_> = whole.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["machine", "cpuid", "clock", "pit", "irqchips", "vcpu/0", "vcpu/1"]);
    restore(&mut bed, &whole).unwrap();
    for place in 0..whole.len() {
        let mut less = whole.clone();
        let (name, _) = less.remove(place);
        let error = restore(&mut bed, &less).unwrap_err().to_string();
        assert_eq!(error, format!("unit {name} is missing"));
    }
    let mut more = whole;
    more.push(("vcpu/2".to_owned(), more[5].1.clone()));
    let error = restore(&mut bed, &more).unwrap_err().to_string();
    assert!(error.ends_with("vcpu/2"), "{error}");
}

#[test]
fn a_vm_of_another_shape_is_refused_by_the_unit_that_tells() {
    if !is_there_kvm() {
        return;
    }
    let mut other = Bed::build(embedded(3, "quiet"), Start::Restore { ram: None });
    let whole = kvm_half(&held());
    let error = restore(&mut other, &whole).unwrap_err().to_string();
    assert_eq!(error, "unit machine: it has 2 slots for vCPUs, this VM 3");
}

#[test]
fn a_vm_that_runs_takes_no_state() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = Bed::embedded(1, "mode=busy");
    let state = bed.save();
    bed.go();
    assert!(matches!(bed.vm.restore(&state), Err(StateError::Running)));
}

#[test]
fn a_feature_that_this_host_lacks_is_named() {
    if !is_there_kvm() {
        return;
    }
    let bed = held();
    let template = bed.vm.cpus.plan().template();
    let mut told = template.entries().to_vec();
    // Fewer features are kept: the guest goes on with what it was told.
    told.iter_mut().find(|leaf| leaf.function == 1).unwrap().edx &= !1;
    let fewer = template.with_entries(told.clone()).unwrap();
    let kept = Cpuid::of(&fewer).instead_of(template).unwrap().unwrap();
    assert_eq!(kept.entries(), told);
    assert!(Cpuid::of(template).instead_of(template).unwrap().is_none());
    // What no processor has (leaf 1, EDX bit 20 is reserved).
    told.iter_mut().find(|leaf| leaf.function == 1).unwrap().edx |= 1 << 20;
    let more = template.with_entries(told).unwrap();
    let error = Cpuid::of(&more).instead_of(template).unwrap_err().of("cpuid").to_string();
    assert!(error.starts_with("unit cpuid: this host lacks features"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the bytes of a unit are: an error that names it, or state that KVM takes.
    #[test]
    fn damaged_units_are_errors(
        damage in prop::collection::vec((0..7_usize, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cuts in prop::collection::vec((0..7_usize, any::<prop::sample::Index>()), 0..2),
        random in prop::option::of((0..7_usize, prop::collection::vec(any::<u8>(), 0..600))),
    ) {
        if !is_there_kvm() {
            return Ok(());
        }
        let mut bed = held();
        let mut damaged = kvm_half(&bed);
        for (unit, at, byte) in damage {
            let payload = &mut damaged[unit].1;
            let at = at.index(payload.len());
            payload[at] ^= byte;
        }
        for (unit, at) in cuts {
            let payload = &mut damaged[unit].1;
            payload.truncate(at.index(payload.len()));
        }
        if let Some((unit, bytes)) = random {
            damaged[unit].1 = bytes;
        }
        if let Err(error) = restore(&mut bed, &damaged) {
            let error = error.to_string();
            let named = damaged.iter().any(|(name, _)| error.contains(name.as_str()));
            prop_assert!(named || error.contains("vcpu/"), "{}", error);
        }
    }
}
