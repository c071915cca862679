//! KVM's part: vCPUs, interrupt controllers, interval timer, clock; and which vCPUs there are.
//!
//! | unit | what |
//! |---|---|
//! | `machine` | which vCPUs there are and have threads; power-off, reset, crash that nobody has taken; what the address space rests on |
//! | `cpuid` | what CPUID tells |
//! | `clock` | kvmclock, the real time at that moment, the frequency of the time-stamp counters |
//! | `pit` | the interval timer, where KVM has one |
//! | `irqchips` | two 8259 and the I/O APIC |
//! | `vcpu/N` | a vCPU |
//!
//! ```text
//!   save:     machine ─▶ clock ─▶ PIT ─▶ 8259, I/O APIC ─▶ vCPUs, the first, then all others on every processor
//!   restore:  machine, CPUID ─▶ vCPUs that are missing ─▶ clock ─▶ vCPUs, the same way ─▶ 8259, I/O APIC ─▶ PIT ─▶ threads ─▶ requests
//! ```
//!
//! The host's timers go on while the VM stands still: an interrupt that one of them raises during a save is on its way from the PIT to a local APIC. Saved
//! along that way, it is seen at least once. A restore goes against it, so that nothing is delivered into what is yet to be overwritten.
//!
//! Invariants: the registers of a vCPU are read and written only with a [`Still`] in the hand; a vCPU's thread is given
//! what it has to wait for before it is let go, and after the devices, whose work that is, have been restored.

mod clock;
mod cpuid;
mod fpu;
mod irqchips;
mod lapic;
mod machine;
mod mirror;
mod msrs;
mod nested;
mod parallel;
mod pit;
mod presence;
mod refusal;
mod registers;
mod rehearsal;
mod reset;
#[cfg(test)]
mod tests;
mod tsc;
mod vcpu;

use std::sync::OnceLock;

use kvm_ioctls::VcpuFd;
use migration::format::{EncodedUnit, StateReader, StateWriter, TakenUnit};
use vcpu_state::sync::Arc;
use vcpu_state::{OneShot, Ticket, Word};

use super::StateError;
use crate::vcpu::VcpuHandle;
use crate::vm::{KvmError, Still, Vm};
use clock::Clock;
use cpuid::Cpuid;
use irqchips::IrqChips;
use machine::Machine;
pub(in crate::vm) use msrs::MsrIndices;
use parallel::in_parallel;
pub(in crate::vm) use parallel::processors;
use pit::Pit;
use refusal::Refusal;
pub(crate) use rehearsal::Rehearsal;
pub(super) use rehearsal::rehearse;
use reset::Reset;
use vcpu::{Forms, Owed, VcpuUnit};

/// vCPUs that have to wait, before they enter the guest, for what they had left for the devices to do.
#[must_use = "the vCPUs enter the guest without it"]
#[derive(Debug, Default)]
pub(super) struct Waiting(Vec<u32>);

/// A vCPU that is saved or restored.
struct One<'a> {
    vcpu: u32,
    handle: &'a VcpuHandle,
}

impl One<'_> {
    fn name(&self) -> String {
        format!("vcpu/{}", self.vcpu)
    }

    fn fd(&self, still: &Still) -> Result<&VcpuFd, StateError> {
        self.handle.still(still).map_err(|error| Refusal::Kvm(error).of(self.name()))
    }
}

pub(super) fn save(vm: &Vm, still: &Still, units: &mut StateWriter) -> Result<(), StateError> {
    let machine = Machine::of(vm).map_err(|refused| refused.of("machine"))?;
    let vcpus: Vec<_> = of_all(vm, &machine)?;
    let Some(first) = vcpus.first() else { return Ok(()) };
    let first_fd = first.fd(still)?;
    units.put(&machine)?;
    units.put(&Cpuid::of(vm.cpus.plan().template()))?;
    units.put(&Clock::get(&vm.kvm, first_fd)?)?;
    if Pit::is_there(&vm.kvm) {
        units.put(&Pit::get(&vm.kvm)?)?;
    }
    units.put(&IrqChips::get(&vm.kvm)?)?;
    let forms = Forms::of(&vm.kvm);
    let indices = indices(vm, first_fd)?;
    let saved = in_parallel(&vcpus, |one| {
        let owed = owed_by(vm, one);
        let unit = VcpuUnit::get(one.fd(still)?, forms, indices, owed)
            .map_err(|error| Refusal::Kvm(error).of(one.name()))?;
        Ok::<_, StateError>(EncodedUnit::instance(&one.vcpu.to_string(), &unit)?)
    })?;
    Ok(saved.into_iter().try_for_each(|unit| units.put_encoded(unit))?)
}

/// The model-specific registers of the VM's vCPUs: as long as CPUID tells the same they are the same.
fn indices<'a>(vm: &'a Vm, first: &VcpuFd) -> Result<&'a MsrIndices, KvmError> {
    if let Some(indices) = vm.msr_indices.get() {
        return Ok(indices);
    }
    let found = MsrIndices::of(first)?;
    Ok(vm.msr_indices.get_or_init(|| found))
}

/// What its word and its handle say.
fn owed_by(vm: &Vm, one: &One<'_>) -> Owed {
    let word = vm.group.word(one.vcpu as usize);
    let is = |flag| word.is_some_and(|word| word.any(flag) && !word.any(Word::DEAD));
    Owed { nmi: is(Word::NMI), work: is(Word::ACTIVATION_PENDING) || one.handle.owes() }
}

/// The vCPUs that there are to be, all of which there are.
fn of_all<'a>(vm: &'a Vm, machine: &Machine) -> Result<Vec<One<'a>>, StateError> {
    let one = |vcpu| match vm.threads.handle(vcpu) {
        Some(handle) => Ok(One { vcpu, handle }),
        None => Err(Refusal::Unfit("there is no such vCPU".to_owned()).of(format!("vcpu/{vcpu}"))),
    };
    machine.vcpus().map(one).collect()
}

pub(super) fn restore(
    vm: &mut Vm,
    still: &Still,
    units: &mut StateReader<'_>,
) -> Result<Waiting, StateError> {
    let machine: Machine = units.take()?;
    machine.check(vm).map_err(|refused| refused.of("machine"))?;
    let cpuid: Cpuid = units.take()?;
    let told =
        cpuid.instead_of(vm.cpus.plan().template()).map_err(|refused| refused.of("cpuid"))?;
    let is_told_anew = told.is_some();
    if let Some(template) = told {
        vm.cpus.tell(template);
        vm.msr_indices = OnceLock::new();
    }
    presence::make(vm, &machine)?;
    let clock: Clock = units.take()?;
    clock.set(&vm.kvm).map_err(|error| Refusal::Kvm(error).of("clock"))?;
    let taken = machine.vcpus().map(|vcpu| units.take_encoded::<VcpuUnit>(&vcpu.to_string()));
    let taken = taken.collect::<Result<Vec<_>, _>>()?;
    let vcpus: Vec<_> = of_all(vm, &machine)?.into_iter().zip(&taken).collect();
    let owed = set_vcpus(vm, still, &vcpus, &Hand { clock: &clock, is_told_anew })?;
    let waiting = machine.vcpus().zip(&owed).filter(|(_, owed)| owed.work);
    let waiting = Waiting(waiting.map(|(vcpu, _)| vcpu).collect());
    units.take::<IrqChips>()?.set(&vm.kvm).map_err(|error| Refusal::Kvm(error).of("irqchips"))?;
    if Pit::is_there(&vm.kvm) {
        units.take::<Pit>()?.set(&vm.kvm).map_err(|error| Refusal::Kvm(error).of("pit"))?;
    }
    presence::seat(vm, &machine)?;
    for (vcpu, owed) in machine.vcpus().zip(&owed) {
        if owed.nmi {
            // A vCPU without a thread takes none, and had none.
            let _ = vm.group.ask(vcpu as usize, OneShot::Nmi);
        }
    }
    vm.cpus.set_returning(machine.returning);
    vm.machine.power.note_all(machine.noted);
    Ok(waiting)
}

/// What all vCPUs are written with.
struct Hand<'a> {
    clock: &'a Clock,
    is_told_anew: bool,
}

/// Decodes and writes all of them, a vCPU at a time; what each is owed. After an error some are another's, as after one of KVM's.
fn set_vcpus(
    vm: &Vm,
    still: &Still,
    vcpus: &[(One<'_>, &TakenUnit<'_>)],
    hand: &Hand<'_>,
) -> Result<Vec<Owed>, StateError> {
    let Some((first, taken)) = vcpus.first() else { return Ok(Vec::new()) };
    let leading: VcpuUnit = taken.decode()?;
    let fd = first.fd(still)?;
    let khz = fd.get_tsc_khz().unwrap_or(0);
    let prepare = |one: &One<'_>, fd: &VcpuFd| {
        if hand.is_told_anew {
            vm.cpus.plan().tell_identity(fd, one.vcpu)?;
        }
        hand.clock.set_frequency(fd, khz)
    };
    prepare(first, fd)
        .and_then(|()| leading.lead(fd, hand.clock.elapsed()))
        .map_err(|refused| refused.of(first.name()))?;
    let forms = Forms::of(&vm.kvm);
    // Of the second, because the first one of a VM that could have booted is not as KVM has made it.
    let reset = vcpus.get(1).map(|(second, _)| {
        let read = Reset::of(second.fd(still)?, forms);
        read.map_err(|error| Refusal::Kvm(error).of(second.name()))
    });
    let reset = reset.transpose()?;
    in_parallel(vcpus, |(one, taken)| {
        let fd = one.fd(still)?;
        let set = |unit: &VcpuUnit, reset| {
            let set = unit.set(fd, (forms, reset), hand.clock.elapsed());
            set.map(|()| unit.owed).map_err(|refused| refused.of(one.name()))
        };
        if one.vcpu == first.vcpu {
            return set(&leading, None);
        }
        let unit = taken.decode()?;
        prepare(one, fd).map_err(|refused| refused.of(one.name()))?;
        set(&unit, reset.as_ref())
    })
}

impl Waiting {
    /// Has the vCPUs wait: for everything that any register write can have left to do, because which of it it was the vCPU
    /// does not know. Work that is done already answers at once.
    pub(super) fn wait(self, vm: &Vm) {
        for vcpu in self.0 {
            let Some(handle) = vm.threads.handle(vcpu).map(Arc::clone) else { continue };
            let tickets = vm.cards.work().chain([vm.root.work().request()]);
            let tickets: Vec<Ticket> = tickets.chain(vm.machine.power.ticket()).collect();
            for ticket in tickets {
                handle.owe(ticket);
            }
        }
    }
}
