//! vCPUs come and go, while every vCPU is at the registers by which they do, and while the VM is paused and resumed.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use embedded::TestVm;
use embedded::driver::DriverVm;
use stillpoint_guest::driver::{Command, OUTCOME_DONE, hammer};
use stillpoint_guest::layout;
use vcpu_state::Word;
use vmm::config::{ConsoleConfig, ConsoleMode, ResizeConfig};
use vmm::control::{ControlError, VcpuHotplug, VmState, VmmControl};

const GONE: u64 = 0;
const INSERTING: u64 = 0b011;
const REMOVING: u64 = 0b101;

fn guest(boot: u32, max: u32) -> DriverVm {
    DriverVm::boot(boot, |config| config.cpus.max_vcpus = max)
}

fn resize(vm: &TestVm, vcpus: u32) -> Result<(), ControlError> {
    vm.vmm.resize(ResizeConfig { desired_vcpus: Some(vcpus), ..ResizeConfig::default() })
}

/// The vCPUs of `vm.info`, each with where it is on its way.
fn vcpus(vm: &TestVm) -> Vec<(u32, Option<VcpuHotplug>)> {
    let info = vm.vmm.info().unwrap();
    info.vcpus.iter().map(|vcpu| (vcpu.index, vcpu.hotplug)).collect()
}

/// Waits until the guest has the first `count` and nothing is left of others.
fn await_only(vm: &TestVm, count: u32) {
    let only: Vec<_> = (0..count).map(|vcpu| (vcpu, None)).collect();
    vm.await_that("the vCPUs that are left", |vm| vcpus(vm) == only);
}

fn word(guest: &DriverVm, vcpu: usize) -> Word {
    guest.vm.vmm.group().unwrap().word(vcpu).unwrap()
}

fn does_work(guest: &mut DriverVm, place: usize) {
    let results = guest.run(place, Command::ReadLoop, &[layout::MMIO_HOLE, 10]);
    assert_eq!(results[0], OUTCOME_DONE);
}

#[test]
fn vcpus_come_go_by_themselves_or_by_another_and_come_again() {
    let mut guest = guest(2, 4);
    assert_eq!(vcpus(&guest.vm), [(0, None), (1, None)]);
    resize(&guest.vm, 4).unwrap();
    let inserting = Some(VcpuHotplug::Inserting);
    assert_eq!(vcpus(&guest.vm)[1..], [(1, None), (2, inserting), (3, inserting)]);
    assert_eq!(guest.vm.vmm.info().unwrap().config.cpus.boot_vcpus, 4);
    let scanned = guest.run(0, Command::ScanVcpus, &[]);
    assert_eq!(scanned[..4], [OUTCOME_DONE, 2, 2 << 8 | INSERTING, 3 << 8 | INSERTING]);
    await_only(&guest.vm, 4);
    let second = guest.start(2);
    does_work(&mut guest, second);

    resize(&guest.vm, 2).unwrap();
    let removing = Some(VcpuHotplug::Removing);
    assert_eq!(vcpus(&guest.vm)[2..], [(2, removing), (3, removing)]);
    let scanned = guest.run(1, Command::ScanVcpus, &[]);
    assert_eq!(scanned[..4], [OUTCOME_DONE, 2, 2 << 8 | REMOVING, 3 << 8 | REMOVING]);
    assert_eq!(vcpus(&guest.vm)[2..], [(2, removing), (3, removing)], "heard is not done");
    // One that was never started goes by another's hand, one that runs by its own.
    assert_eq!(guest.run(0, Command::EjectVcpu, &[3])[..2], [OUTCOME_DONE, GONE]);
    guest.begin(second, Command::EjectVcpu, &[2]);
    await_only(&guest.vm, 2);
    for vcpu in [2, 3] {
        assert!(word(&guest, vcpu).any(Word::DEAD), "{:?}", word(&guest, vcpu));
    }

    resize(&guest.vm, 3).unwrap();
    assert_eq!(word(&guest, 2).incarnation(), 1);
    assert!(!word(&guest, 2).any(Word::DEAD) && word(&guest, 3).any(Word::DEAD));
    // It does not go on where it stood, with what waits for it there: it waits to be started.
    guest.begin(second, Command::ScanVcpus, &[]);
    let again = guest.start(2);
    does_work(&mut guest, again);
    assert!(!guest.is_done(second));
}

#[test]
fn every_vcpu_hammers_the_registers_while_the_vm_is_paused_and_resized() {
    const CYCLES: u32 = 120;
    let wanted = std::env::var("STILLPOINT_HOTPLUG_CYCLES").ok();
    let cycles = wanted.and_then(|text| text.parse().ok()).unwrap_or(CYCLES);
    let mut guest = guest(4, 8);
    for vcpu in 0..4 {
        guest.begin(vcpu, Command::Hammer, &[hammer::SELECT, 8, 7 + vcpu as u64]);
    }
    for cycle in 0..cycles {
        let then: Vec<_> = (0..4).map(|vcpu| guest.progress(vcpu)).collect();
        guest.vm.vmm.pause().unwrap();
        let words: Vec<_> = guest.vm.vmm.group().unwrap().words().collect();
        assert!(words.iter().all(|word| word.is_quiescent()), "{words:?}");
        let stood: Vec<_> = (0..4).map(|vcpu| guest.progress(vcpu)).collect();
        // Up, further up, and down: the guest lets go of nothing, so the way down is taken back by the next turn.
        let vcpus = [6, 8, 4][cycle as usize % 3];
        let refused = resize(&guest.vm, [5, 7, 3][cycle as usize % 3]);
        assert!(matches!(refused, Err(ControlError::WrongPhase { .. })), "{refused:?}");
        assert_eq!(stood, (0..4).map(|vcpu| guest.progress(vcpu)).collect::<Vec<_>>());
        drop(guest.vm.vmm.resume().unwrap());
        let pending = cycle % 3 == 0 && cycle > 0;
        let resized = resize(&guest.vm, vcpus);
        if pending {
            assert!(matches!(resized, Err(ControlError::UnplugPending(_))), "{resized:?}");
            resize(&guest.vm, 8).unwrap();
        } else {
            resized.unwrap();
        }
        guest.vm.await_that("every vCPU going on", |_| {
            (0..4).all(|vcpu| guest.progress(vcpu) > then[vcpu])
        });
    }
    for vcpu in 0..4 {
        guest.stop(vcpu);
        let results = guest.end(vcpu);
        assert_eq!(results[0], OUTCOME_DONE, "vCPU {vcpu}: {results:x?}");
    }
    assert_eq!(guest.vm.counter("cpu_hotplug", "ejections"), 0);
}

#[test]
fn vcpus_are_ejected_by_themselves_and_by_others_in_the_middle_of_pauses() {
    const ROUNDS: usize = 12;
    let mut guest = guest(4, 4);
    // By their places in the order of arrival: those of vCPU 1 to 3.
    let [second, third, mut fourth] = [1, 2, 3].map(|vcpu| guest.place_of(vcpu));
    for place in [second, third, fourth] {
        guest.begin(place, Command::Hammer, &[0, 4, 11]);
    }
    for round in 0..ROUNDS {
        resize(&guest.vm, 3).unwrap();
        if round % 2 == 0 {
            guest.begin(0, Command::EjectVcpu, &[3]);
        } else {
            guest.stop(fourth);
            guest.end(fourth);
            guest.begin(fourth, Command::EjectVcpu, &[3]);
        }
        for _ in 0..5 {
            guest.vm.vmm.pause().unwrap();
            let before: Vec<_> = guest.vm.vmm.group().unwrap().words().collect();
            let info = vcpus(&guest.vm);
            // An eject that the pause has overtaken is not carried out before the guest goes on.
            assert_eq!(info, vcpus(&guest.vm));
            assert_eq!(before, guest.vm.vmm.group().unwrap().words().collect::<Vec<_>>());
            drop(guest.vm.vmm.resume().unwrap());
        }
        await_only(&guest.vm, 3);
        if round % 2 == 0 {
            assert_eq!(guest.end(0)[..2], [OUTCOME_DONE, GONE]);
        }
        resize(&guest.vm, 4).unwrap();
        assert_eq!(usize::from(word(&guest, 3).incarnation()), round + 1);
        fourth = guest.start(3);
        guest.begin(fourth, Command::Hammer, &[0, 4, 13]);
        let begun = [second, third, fourth].map(|place| guest.progress(place));
        guest.vm.await_that("the others going on", |_| {
            let now = [second, third, fourth].map(|place| guest.progress(place));
            now.iter().zip(begun).all(|(now, begun)| *now > begun)
        });
    }
    assert_eq!(guest.vm.counter("cpu_hotplug", "ejections"), ROUNDS as u64);
}

#[test]
fn a_removal_is_taken_back_and_what_the_guest_ejects_nevertheless_comes_back() {
    let mut guest = guest(3, 4);
    resize(&guest.vm, 2).unwrap();
    resize(&guest.vm, 3).unwrap();
    assert_eq!(guest.run(0, Command::ScanVcpus, &[])[1], 0, "the guest never hears of it");
    await_only(&guest.vm, 3);

    resize(&guest.vm, 2).unwrap();
    assert_eq!(guest.run(0, Command::ScanVcpus, &[])[..3], [OUTCOME_DONE, 1, 2 << 8 | REMOVING]);
    resize(&guest.vm, 3).unwrap();
    await_only(&guest.vm, 3);
    guest.run(0, Command::EjectVcpu, &[2]);
    let back = [(0, None), (1, None), (2, Some(VcpuHotplug::Inserting))];
    guest.vm.await_that("the vCPU's return", |_| vcpus(&guest.vm) == back);
    assert_eq!(word(&guest, 2).incarnation(), 1);
    let again = guest.start(2);
    does_work(&mut guest, again);

    // Of its own accord: it stays away until it is asked for.
    guest.run(0, Command::ScanVcpus, &[]);
    guest.run(0, Command::EjectVcpu, &[2]);
    await_only(&guest.vm, 2);
    resize(&guest.vm, 3).unwrap();
    assert_eq!(vcpus(&guest.vm), back);
    // The first one stays, whatever the guest writes.
    let second = guest.place_of(1);
    assert_eq!(guest.run(second, Command::EjectVcpu, &[0])[..2], [OUTCOME_DONE, 1]);
    does_work(&mut guest, 0);
}

/// It had its thread spin until the guest started it.
#[test]
fn a_vcpu_that_has_not_been_started_takes_no_nmi() {
    let mut guest = guest(2, 4);
    resize(&guest.vm, 4).unwrap();
    guest.vm.vmm.nmi().unwrap();
    guest.run(0, Command::ReadLoop, &[layout::MMIO_HOLE, 100]);
    let before = guest.vm.counter("exits", "interrupted");
    guest.run(0, Command::ReadLoop, &[layout::MMIO_HOLE, 2000]);
    let more = guest.vm.counter("exits", "interrupted") - before;
    assert!(more < 200, "{more} returns of KVM_RUN while nothing happened");
    let started = guest.start(3);
    does_work(&mut guest, started);
}

#[test]
fn nonsense_is_refused_and_changes_nothing() {
    let guest = guest(2, 4);
    let refused = |vcpus: u32, why: &str| {
        let before = self::vcpus(&guest.vm);
        let config = guest.vm.vmm.info().unwrap().config;
        let error = resize(&guest.vm, vcpus).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!((self::vcpus(&guest.vm), guest.vm.vmm.info().unwrap().config), (before, config));
        error
    };
    refused(0, "at least one vCPU");
    refused(5, "at most 4");
    refused(u32::MAX, "at most 4");
    guest.vm.vmm.pause().unwrap();
    let error = refused(3, "it must be Running");
    assert!(matches!(error, ControlError::WrongPhase { state: VmState::Paused, .. }));
    resize(&guest.vm, 2).unwrap();
    drop(guest.vm.vmm.resume().unwrap());
    resize(&guest.vm, 4).unwrap();
    resize(&guest.vm, 2).unwrap();
    for vcpus in [1, 3] {
        let error = refused(vcpus, "has not let go of vCPU 2, 3 yet; a resize to 4");
        assert!(matches!(error, ControlError::UnplugPending(_)));
    }
    resize(&guest.vm, 2).unwrap();
    resize(&guest.vm, 4).unwrap();
    guest.vm.vmm.shutdown().unwrap();
    let error = refused(3, "it must be Running");
    assert!(matches!(error, ControlError::WrongPhase { state: VmState::Shutdown, .. }));
    guest.vm.vmm.delete().unwrap();
    assert!(matches!(resize(&guest.vm, 3), Err(ControlError::NotCreated)));
}

#[test]
fn a_vm_boots_again_with_what_was_asked_for_last() {
    let mut config = embedded::config(2, "mode=busy quiet");
    config.cpus.max_vcpus = 4;
    let vm = TestVm::with(config, |_| ConsoleConfig::of_mode(ConsoleMode::Null));
    vm.start();
    resize(&vm, 3).unwrap();
    vm.vmm.reboot().unwrap();
    await_only(&vm, 3);
    // With an unplug pending, and paused.
    resize(&vm, 1).unwrap();
    vm.vmm.pause().unwrap();
    vm.vmm.reboot().unwrap();
    await_only(&vm, 1);
    resize(&vm, 4).unwrap();
    resize(&vm, 2).unwrap();
    vm.vmm.shutdown().unwrap();
    vm.vmm.boot().unwrap();
    await_only(&vm, 2);
    vm.await_up();
}
