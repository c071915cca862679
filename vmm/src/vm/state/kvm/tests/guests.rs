//! The embedded guest, which checks itself, goes on in another VM.

use migration::format::StateReader;
use stillpoint_guest::layout;

use super::{Bed, is_there_kvm};
use crate::vm::state::kvm::vcpu::VcpuUnit;

/// A chain of VMs, each with the state of the last, at instants that the host's scheduler chooses. What is checked is true in all of them.
fn chain(vcpus: u32, cmdline: &str, generations: i64, progress: u64, mut check: impl FnMut(&Bed)) {
    if !is_there_kvm() {
        return;
    }
    let mut bed = Bed::embedded(vcpus, cmdline);
    for generation in 0..generations {
        bed.await_progress(progress);
        super::bed::moment(100_000 * (generation % 7));
        let state = bed.save();
        let mut next = bed.another(&state);
        for (other, this) in registers(&next).iter().zip(registers(&bed)) {
            assert_eq!(other.differences(&this), Vec::<String>::new());
        }
        assert_eq!(next.lines(progress), bed.lines(progress), "nothing moves in it");
        check(&bed);
        next.go();
        bed = next;
    }
    bed.await_progress(progress);
    bed.vm.pause().unwrap();
    assert_eq!(bed.lines(layout::LINE_BAD_READS), vec![0; vcpus as usize]);
    check(&bed);
}

/// All vCPUs of a VM that stands still.
fn registers(bed: &Bed) -> Vec<VcpuUnit> {
    let state = bed.saved();
    let mut units = StateReader::parse(&state).unwrap();
    let vcpu = |vcpu: u32| units.take_instance(&vcpu.to_string()).unwrap();
    (0..bed.config.cpus.boot_vcpus).map(vcpu).collect()
}

#[test]
fn vcpus_that_count_go_on_counting() {
    chain(3, "mode=busy", 8, layout::LINE_HEARTBEAT, |_| {});
}

#[test]
fn vcpus_that_sleep_are_woken_by_their_timers() {
    let mut ticks = Vec::new();
    chain(3, "mode=halt tick=500", 8, layout::LINE_TICKS, |bed| {
        let now = bed.lines(layout::LINE_TICKS);
        assert!(ticks.iter().zip(&now).all(|(then, now)| then <= now), "{ticks:?} {now:?}");
        ticks = now;
    });
}

#[test]
fn an_access_in_the_middle_of_which_it_was_saved_is_neither_lost_nor_repeated() {
    let mut done = 0;
    chain(2, "mode=mmio", 40, layout::LINE_MMIO, |bed| {
        done += bed.exits("mmio_read") + bed.exits("mmio_write");
        let counted: u64 = bed.lines(layout::LINE_MMIO).iter().sum();
        // Each vCPU may have done one that it has not counted yet.
        let ahead = done.checked_sub(counted);
        assert!(ahead.is_some_and(|ahead| ahead <= 2), "done {done}, counted {counted}");
        assert_eq!(bed.lines(layout::LINE_BAD_READS), [0, 0]);
    });
}
