//! vCPUs that come and go are in the other VM as they were.

use stillpoint_guest::layout;

use super::bed::{Bed, embedded, is_there_kvm, until};
use crate::vm::Start;
use crate::vm::threads::Occupancy;

fn occupancy(bed: &Bed) -> Vec<Occupancy> {
    (0..bed.config.cpus.max_vcpus).map(|vcpu| bed.vm.threads.occupancy(vcpu)).collect()
}

/// A VM with room for more vCPUs than it has.
fn roomy(vcpus: u32, max_vcpus: u32) -> Bed {
    let mut config = embedded(vcpus, "quiet mode=busy");
    config.cpus.max_vcpus = max_vcpus;
    let bed = Bed::boot(config);
    until("every vCPU counting", || {
        bed.lines(layout::LINE_HEARTBEAT).iter().all(|heartbeat| *heartbeat > 0)
    });
    bed
}

#[test]
fn a_removed_vcpu_is_removed_and_can_be_added() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = roomy(3, 3);
    bed.vm.remove_vcpu(2).unwrap();
    let state = bed.save();
    let mut next = bed.another(&state);
    assert_eq!(occupancy(&next), occupancy(&bed));
    next.go();
    until("the others going on", || {
        let (now, then) = (next.lines(layout::LINE_HEARTBEAT), bed.lines(layout::LINE_HEARTBEAT));
        now.iter().zip(&then).filter(|(now, then)| now != then).count() == 2
    });
    next.vm.add_vcpu(2).unwrap();
    next.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn vcpus_that_were_plugged_and_ejected_are_as_they_were() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = roomy(1, 4);
    let change = bed.vm.prepare_vcpus(1, 3).unwrap();
    bed.vm.commit_vcpus(change);
    // As the guest's eject does.
    bed.vm.threads.retire(&bed.vm.group, 1).unwrap();
    let as_it_was = [Occupancy::Running, Occupancy::Vacant, Occupancy::Running, Occupancy::Empty];
    assert_eq!(occupancy(&bed), as_it_was);
    let state = bed.save();
    let mut next = bed.another(&state);
    assert_eq!(occupancy(&next), as_it_was);
    next.go();
    next.await_progress(layout::LINE_HEARTBEAT);
    // It can be saved as the first one could.
    let state = next.save();
    let last = next.another(&state);
    assert_eq!(occupancy(&last), as_it_was);
}

#[test]
fn a_vcpu_that_the_other_never_had_gets_no_thread() {
    if !is_there_kvm() {
        return;
    }
    let mut bed = roomy(1, 2);
    let state = bed.save();
    bed.config.cpus.boot_vcpus = 2;
    let next = bed.restored(Start::Restore { ram: None }, &state).unwrap();
    assert_eq!(occupancy(&next), [Occupancy::Running, Occupancy::Vacant]);
}

#[test]
fn a_vm_that_has_never_run_can_be_saved_and_begins_in_the_other() {
    if !is_there_kvm() {
        return;
    }
    let bed = Bed::build(embedded(3, "quiet mode=busy"), Start::Boot);
    let mut next = bed.another(&bed.saved());
    next.go();
    until("every vCPU counting", || {
        next.lines(layout::LINE_HEARTBEAT).iter().all(|heartbeat| *heartbeat > 0)
    });
}
