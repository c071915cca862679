//! Trying out what saving and restoring take.

use super::bed::embedded;
use super::{Bed, is_there_kvm};
use crate::vm::Start;
use migration::format::StateReader;
use stillpoint_guest::layout;

use crate::vm::state::StateError;
use crate::vm::state::kvm::vcpu::VcpuUnit;

/// More vCPUs than one thread has to itself.
const VCPUS: u32 = 9;

fn vcpus(bed: &Bed) -> Vec<VcpuUnit> {
    let state = bed.saved();
    let mut units = StateReader::parse(&state).unwrap();
    (0..VCPUS).map(|vcpu| units.take_instance(&vcpu.to_string()).unwrap()).collect()
}

#[test]
fn what_is_tried_out_leaves_nothing_behind() {
    if !is_there_kvm() {
        return;
    }
    let bed = Bed::build(embedded(VCPUS, ""), Start::Restore { ram: None });
    let before = vcpus(&bed);
    let rehearsal = bed.vm.rehearse().unwrap();
    assert!(rehearsal.bytes > 0 && !rehearsal.save.is_zero() && !rehearsal.restore.is_zero());
    for (vcpu, before) in vcpus(&bed).iter().zip(before) {
        assert_eq!(vcpu.differences(&before), Vec::<String>::new());
    }
}

/// What the others are not written again they have.
#[test]
fn a_vm_that_has_tried_it_out_is_restored_as_any_other() {
    if !is_there_kvm() {
        return;
    }
    let mut first = Bed::embedded(VCPUS, "mode=busy");
    first.await_progress(layout::LINE_HEARTBEAT);
    let state = first.save();
    let mut second = Bed::build(first.config.clone(), first.start_of_another());
    second.vm.rehearse().unwrap();
    second.vm.restore(&state).unwrap();
    for (vcpu, before) in vcpus(&second).iter().zip(vcpus(&first)) {
        assert_eq!(vcpu.differences(&before), Vec::<String>::new());
    }
    second.go();
    second.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn nothing_is_tried_out_on_a_vm_that_runs() {
    if !is_there_kvm() {
        return;
    }
    let bed = Bed::embedded(1, "mode=busy");
    assert!(matches!(bed.vm.rehearse(), Err(StateError::Running)));
}
