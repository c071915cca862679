//! Making a VM have the vCPUs, and the threads, that another had.
//!
//! ```text
//!            first: make                      last: seat
//!   Empty ───────────────▶ Vacant      Vacant ──add──▶ Running (parked: the VM is held)      Running ──end──▶ Vacant
//! ```
//!
//! A vCPU that is here and was never there cannot be unmade: it is as one that its guest has ejected, and nobody looks for it.

use super::machine::{Machine, Seat};
use super::refusal::Refusal;
use crate::vm::Vm;
use crate::vm::state::StateError;
use crate::vm::threads::{Home, Occupancy, SeatError};

/// Makes the KVM vCPUs that are missing.
pub(super) fn make(vm: &mut Vm, machine: &Machine) -> Result<(), StateError> {
    for vcpu in machine.vcpus() {
        let Vm { threads, cpus, kvm, .. } = &mut *vm;
        threads
            .make(vcpu, || cpus.plan().make(kvm, vcpu))
            .map_err(|error| refused(vcpu, &error))?;
    }
    Ok(())
}

/// Gives those threads that had one, and takes them from those that had none.
pub(super) fn seat(vm: &mut Vm, machine: &Machine) -> Result<(), StateError> {
    for (vcpu, seat) in (0..).zip(&machine.seats) {
        let Vm { threads, group, machine, .. } = &mut *vm;
        let done = match (seat, threads.occupancy(vcpu)) {
            (Seat::Running, Occupancy::Vacant) => threads.add(Home { group, machine }, vcpu),
            (Seat::Still, Occupancy::Running) => threads.end(group, vcpu),
            (Seat::Never, Occupancy::Running) => threads.retire(group, vcpu),
            _ => Ok(()),
        };
        done.map_err(|error| refused(vcpu, &error))?;
    }
    Ok(())
}

fn refused(vcpu: u32, error: &SeatError) -> StateError {
    Refusal::Unfit(error.to_string()).of(format!("vcpu/{vcpu}"))
}
