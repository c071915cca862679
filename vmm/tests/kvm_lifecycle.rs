//! Pause and resume of real vCPUs in every mode: nothing moves while paused, everything goes on
//! after, and no exit is lost or done twice.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::{Screen, TestVm, probe::StormProbe};
use stillpoint_guest::{Mode, layout};
use vmm::control::{ControlError, VmState, VmmControl};

/// The field that rises in a mode.
fn progress(mode: Mode) -> u64 {
    match mode {
        Mode::Halt => layout::LINE_TICKS,
        Mode::Busy | Mode::Busy0 => layout::LINE_HEARTBEAT,
        Mode::Io => layout::LINE_PIO,
        Mode::Mmio => layout::LINE_MMIO,
    }
}

fn stands_still_and_goes_on(vcpus: u32, mode: Mode, cycles: u32) {
    let tick = if mode == Mode::Halt { 50 } else { 0 };
    let vm = TestVm::boot(vcpus, &format!("mode={} tick={tick} quiet", mode.name()));
    for _ in 0..cycles {
        vm.vmm.pause().unwrap();
        let (lines, exits) = (vm.all_lines(), vm.vmm.counters().unwrap());
        // Reading takes long enough that a vCPU that is not still would be seen to move.
        for _ in 0..20 {
            assert_eq!(vm.vmm.info().unwrap().state, VmState::Paused);
            assert_eq!(lines, vm.all_lines(), "a counter of the guest moved");
        }
        assert_eq!(exits, vm.vmm.counters().unwrap(), "an exit was handled");
        drop(vm.vmm.resume().unwrap());
        vm.await_progress(progress(mode));
    }
    assert_eq!(vm.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
}

#[test]
fn one_vcpu_in_every_mode() {
    for mode in Mode::ALL {
        stands_still_and_goes_on(1, mode, 20);
    }
}

#[test]
fn four_vcpus_in_every_mode() {
    for mode in Mode::ALL {
        stands_still_and_goes_on(4, mode, 10);
    }
}

#[test]
fn sixty_four_vcpus_in_every_mode() {
    for mode in Mode::ALL {
        stands_still_and_goes_on(64, mode, 1);
    }
}

#[test]
fn every_exit_of_a_storm_is_done_once() {
    let vm = TestVm::with_screen(4, "mode=halt quiet");
    vm.vmm.boot().unwrap();
    let mut screen = Screen::connect(&vm.serial());
    vm.await_up();
    let probe = StormProbe::attach(&vm);
    for (mode, field) in [(Mode::Io, layout::LINE_PIO), (Mode::Mmio, layout::LINE_MMIO)] {
        screen.press(mode.key());
        screen.wait_for(mode.title());
        for _ in 0..10 {
            for _ in 0..10 {
                vm.vmm.pause().unwrap();
                drop(vm.vmm.resume().unwrap());
            }
            // Back to back they may leave the vCPUs asleep all the time: a new pause takes them back.
            vm.await_progress(field);
        }
        vm.await_that("a storm", |vm| vm.lines(field).iter().sum::<u64>() > 100);
        screen.press(Mode::Halt.key());
        screen.wait_for(Mode::Halt.title());
        vm.await_up();
        let counted: u64 = vm.lines(field).iter().sum();
        let done = match mode {
            Mode::Io => probe.accesses(),
            _ => vm.counter("exits", "mmio_read") + vm.counter("exits", "mmio_write"),
        };
        assert_eq!(counted, done, "{mode:?}: accesses that the guest and the host counted");
    }
    let unclaimed = |name| vm.counter("mmio", name);
    assert_eq!(
        unclaimed("unclaimed_reads") + unclaimed("unclaimed_writes"),
        vm.lines(layout::LINE_MMIO).iter().sum::<u64>()
    );
    assert_eq!(vm.lines(layout::LINE_BAD_READS).iter().sum::<u64>(), 0);
}

#[test]
fn an_nmi_reaches_every_vcpu_once_running_or_paused() {
    for mode in Mode::ALL {
        let vm = TestVm::boot(3, &format!("mode={} quiet", mode.name()));
        let nmis = |vm: &TestVm| vm.lines(layout::LINE_NMIS);
        for round in 1..=3 {
            vm.vmm.nmi().unwrap();
            vm.await_that("an NMI a vCPU", |vm| nmis(vm) == [round * 2 - 1; 3]);
            vm.vmm.pause().unwrap();
            vm.vmm.nmi().unwrap();
            // While one is pending, more are the same one, as with the pin of a processor.
            vm.vmm.nmi().unwrap();
            assert_eq!(nmis(&vm), [round * 2 - 1; 3], "{mode:?}: a paused vCPU took an NMI");
            drop(vm.vmm.resume().unwrap());
            vm.await_that("the NMI from the pause", |vm| nmis(vm) == [round * 2; 3]);
        }
        vm.vmm.pause().unwrap();
        assert_eq!(nmis(&vm), [6; 3], "{mode:?}: an NMI came twice");
    }
}

#[test]
fn pausing_what_is_paused_is_done_already() {
    let vm = TestVm::boot(2, "mode=busy quiet");
    vm.vmm.pause().unwrap();
    let lines = vm.all_lines();
    vm.vmm.pause().unwrap();
    assert_eq!(lines, vm.all_lines());
    // One resume is enough.
    drop(vm.vmm.resume().unwrap());
    vm.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn a_wrong_phase_is_refused_and_stays() {
    let vm = TestVm::created(2, "mode=busy quiet");
    let refused = |result: Result<(), ControlError>, state: VmState| {
        let error = result.unwrap_err();
        assert!(
            matches!(error, ControlError::WrongPhase { state: told, .. } if told == state),
            "{error}"
        );
        assert_eq!(vm.vmm.info().unwrap().state, state);
    };
    let resume = || vm.vmm.resume().map(drop);
    for step in [VmState::Created, VmState::Running, VmState::Paused, VmState::Shutdown] {
        match step {
            VmState::Created => {}
            VmState::Running => vm.start(),
            VmState::Paused => vm.vmm.pause().unwrap(),
            VmState::Shutdown => vm.vmm.shutdown().unwrap(),
        }
        if matches!(step, VmState::Created | VmState::Shutdown) {
            refused(vm.vmm.pause(), step);
            refused(vm.vmm.shutdown(), step);
            refused(vm.vmm.reboot(), step);
            refused(vm.vmm.nmi(), step);
        } else {
            refused(vm.vmm.boot(), step);
        }
        if step != VmState::Paused {
            refused(resume(), step);
        }
        assert!(matches!(
            vm.vmm.create(embedded::config(1, "")),
            Err(ControlError::AlreadyCreated)
        ));
    }
    vm.start();
    vm.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn a_paused_vm_can_be_ended_in_every_way() {
    let vm = TestVm::boot(4, "mode=io quiet");
    vm.vmm.pause().unwrap();
    vm.vmm.shutdown().unwrap();
    assert_eq!(vm.vmm.info().unwrap().state, VmState::Shutdown);
    assert!(vm.vmm.info().unwrap().vcpus.is_empty());
    vm.start();
    vm.vmm.pause().unwrap();
    vm.vmm.reboot().unwrap();
    assert_eq!(vm.vmm.info().unwrap().state, VmState::Running);
    vm.await_up();
    vm.vmm.pause().unwrap();
    vm.vmm.delete().unwrap();
    assert!(matches!(vm.vmm.info(), Err(ControlError::NotCreated)));
    // And with the VMM: what `Drop` does.
    let vm = TestVm::boot(4, "mode=busy quiet");
    vm.vmm.pause().unwrap();
    drop(vm);
}
