//! How long saving and restoring take here, measured before it counts: on vCPUs that nobody has written yet and that stand still.
//!
//! ```text
//!   built for another's state ──▶ all vCPUs are read ──▶ and are written what they have ──▶ … ──▶ the other's state
//! ```
//!
//! It is what the downtime of a migration will consist of with many vCPUs, and it leaves nothing behind: each vCPU has what it had. What is looked up
//! once in a VM's life is looked up now.

use std::time::{Duration, Instant};

use migration::format::{EncodedUnit, StateWriter};

use super::machine::Machine;
use super::parallel::in_parallel;
use super::refusal::Refusal;
use super::vcpu::VcpuUnit;
use super::{Forms, Owed, StateError, indices, of_all};
use crate::vm::{Still, Vm};

/// How long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rehearsal {
    /// Reading all vCPUs.
    pub(crate) save: Duration,
    /// Writing all of them.
    pub(crate) restore: Duration,
    /// How long their state is, in bytes.
    pub(crate) bytes: u64,
}

/// So often it is tried out. The shortest counts: what the host did in between with its processors would keep a VM from being stopped at all.
const TRIES: u32 = 3;

/// Reads and writes all vCPUs of a VM that has not run.
pub(in crate::vm::state) fn rehearse(vm: &Vm, still: &Still) -> Result<Rehearsal, StateError> {
    let mut shortest = once(vm, still)?;
    for _ in 1..TRIES {
        let next = once(vm, still)?;
        shortest.save = shortest.save.min(next.save);
        shortest.restore = shortest.restore.min(next.restore);
    }
    Ok(shortest)
}

fn once(vm: &Vm, still: &Still) -> Result<Rehearsal, StateError> {
    let machine = Machine::of(vm).map_err(|refused| refused.of("machine"))?;
    let vcpus = of_all(vm, &machine)?;
    let begun = Instant::now();
    let forms = Forms::of(&vm.kvm);
    let Some(first) = vcpus.first() else {
        return Err(Refusal::Unfit("there is no vCPU".to_owned()).of("machine"));
    };
    let indices = indices(vm, first.fd(still)?)?;
    let owed = Owed { nmi: false, work: false };
    let read = in_parallel(&vcpus, |one| {
        let unit = VcpuUnit::get(one.fd(still)?, forms, indices, owed)
            .map_err(|error| Refusal::Kvm(error).of(one.name()))?;
        let encoded = EncodedUnit::instance(&one.vcpu.to_string(), &unit)?;
        Ok::<_, StateError>((unit, encoded))
    })?;
    let (read, encoded): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    let mut units = StateWriter::new();
    encoded.into_iter().try_for_each(|unit| units.put_encoded(unit))?;
    let bytes = units.finish().len() as u64;
    let save = begun.elapsed();
    let begun = Instant::now();
    let all: Vec<_> = vcpus.iter().zip(&read).collect();
    in_parallel(&all, |(one, unit)| {
        let written = unit.set_again(one.fd(still)?, forms);
        written.map_err(|refused| refused.of(one.name()))
    })?;
    Ok(Rehearsal { save, restore: begun.elapsed(), bytes })
}
