//! The ends of a guest: keys, resets and power-off, while it runs and while it is being paused.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::acpi_pm::AcpiPm;
use devices::ged::GedEvent;
use devices::i8042::I8042;
use devices::power::{PowerRequest, PowerSink};
use devices::watchdog::WatchdogSink;
use embedded::{Screen, TestVm, config, probe, tiny};
use stillpoint_guest::{Mode, Phase, layout};
use vcpu_state::Word;
use vmm::config::{ConsoleConfig, ConsoleMode};
use vmm::control::{VmState, VmmControl};
use vmm::vm::PowerRequests;

fn state(vm: &TestVm) -> VmState {
    vm.vmm.info().unwrap().state
}

/// Reboots by key and by request; who sits at the serial port notices nothing but the greeting.
fn reboots_in_place(vm: &TestVm, screen: &mut Screen) {
    vm.await_up();
    screen.wait_for(" vCPUs up");
    for round in 0..4 {
        let before = Arc::downgrade(&vm.machine());
        if round % 2 == 0 {
            screen.press(b'r');
            screen.wait_for("reboot\r\n");
        } else {
            vm.vmm.reboot().unwrap();
        }
        screen.wait_for(" vCPUs up");
        vm.await_up();
        assert_eq!(state(vm), VmState::Running);
        assert!(before.upgrade().is_none(), "the machine before the reboot is still there");
        assert_eq!(vm.guest().unwrap().keys, 0, "memory is new");
        screen.press(Mode::Busy.key());
        screen.wait_for(Mode::Busy.title());
        vm.await_progress(layout::LINE_HEARTBEAT);
    }
}

#[test]
fn a_reboot_keeps_the_socket_of_the_serial_port() {
    let vm = TestVm::with_screen(2, "mode=halt");
    vm.vmm.boot().unwrap();
    let mut screen = Screen::connect(&vm.serial());
    reboots_in_place(&vm, &mut screen);
}

#[test]
fn a_reboot_keeps_the_pty_of_the_serial_port() {
    let pty = |_: &std::path::Path| ConsoleConfig {
        mode: ConsoleMode::Pty,
        file: None,
        socket: None,
        id: None,
    };
    let vm = TestVm::with(config(2, "mode=halt"), pty);
    vm.vmm.boot().unwrap();
    let path = || vm.vmm.info().unwrap().config.serial.file.unwrap();
    let before = path();
    let mut screen = Screen::open(&before);
    reboots_in_place(&vm, &mut screen);
    assert_eq!(path(), before);
}

#[test]
fn a_guest_that_switches_itself_off_can_be_booted_again() {
    let vm = TestVm::with_screen(4, "mode=busy");
    vm.vmm.boot().unwrap();
    let mut screen = Screen::connect(&vm.serial());
    for _ in 0..3 {
        vm.await_up();
        screen.wait_for(" vCPUs up");
        screen.press(b'q');
        screen.wait_for("power off\r\n");
        vm.await_that("the end", |vm| state(vm) == VmState::Shutdown);
        let info = vm.vmm.info().unwrap();
        assert!(info.vcpus.is_empty() && info.last_error.is_none(), "{info:?}");
        vm.vmm.boot().unwrap();
    }
}

#[test]
fn a_crashed_guest_tells_and_switches_itself_off() {
    let vm = TestVm::with_screen(2, "mode=busy quiet");
    vm.vmm.boot().unwrap();
    let mut screen = Screen::connect(&vm.serial());
    vm.await_up();
    let machine = vm.machine();
    screen.press(b'x');
    let said = screen.wait_for("APIC id 0\r\n");
    assert!(said.contains("guest crashed: vector 0xe, "), "{said}");
    assert!(said.contains(&format!("CR2 {:#x}", layout::UNMAPPED)), "{said}");
    vm.await_that("the end", |vm| state(vm) == VmState::Shutdown);
    // What is left of its memory has the record.
    let mut bytes = [0; 192];
    vm_memory::Bytes::read_slice(
        machine.ram.memory(),
        &mut bytes,
        vm_memory::GuestAddress(layout::CONTROL),
    )
    .unwrap();
    let control = stillpoint_guest::Control::parse(&bytes).unwrap();
    assert_eq!(control.phase, Some(Phase::Crashed));
    assert_eq!(control.crash.map(|crash| crash.cr2), Some(layout::UNMAPPED));
}

/// Presses a key whose register write is held until a pause has been requested: the pause
/// overtakes what the guest asks for.
fn pressed_while_pausing(vm: &TestVm, screen: &mut Screen, key: u8) {
    vm.await_up();
    let vmm = Arc::downgrade(&vm.vmm);
    let pause_is_requested = move || {
        let info = vmm.upgrade().and_then(|vmm| vmm.info().ok());
        info.is_some_and(|info| Word::from_bits(info.vcpus[0].word).any(Word::PAUSE_REQUESTED))
    };
    let arrived = Arc::new(AtomicBool::new(false));
    for range in [AcpiPm::PORTS, I8042::PORTS] {
        probe::hold_writes(vm, range, &arrived, pause_is_requested.clone());
    }
    screen.press(key);
    let ends = |vm: &TestVm| {
        let phase = vm.guest().unwrap().phase;
        matches!(phase, Some(Phase::Rebooting | Phase::PoweringOff))
    };
    vm.await_that("the guest at the register", |_| arrived.load(Ordering::SeqCst));
    vm.vmm.pause().unwrap();
    // The guest has asked, and it is not looked at while the VM is paused, whoever asks for what.
    vm.vmm.nmi().unwrap();
    vm.vmm.pause().unwrap();
    assert!(vm.machine().power.asked().is_some(), "the guest has not come to asking");
    assert_eq!(state(vm), VmState::Paused);
    assert!(ends(vm));
    drop(vm.vmm.resume().unwrap());
}

#[test]
fn a_power_off_that_a_pause_overtakes_comes_after_the_resume() {
    let vm = TestVm::with_screen(3, "mode=busy quiet");
    vm.vmm.boot().unwrap();
    let mut screen = Screen::connect(&vm.serial());
    pressed_while_pausing(&vm, &mut screen, b'q');
    vm.await_that("the end", |vm| state(vm) == VmState::Shutdown);
    assert_eq!(vm.vmm.info().unwrap().last_error, None);
}

#[test]
fn a_reset_that_a_pause_overtakes_comes_after_the_resume() {
    let vm = TestVm::with_screen(3, "mode=busy quiet");
    vm.vmm.boot().unwrap();
    let mut screen = Screen::connect(&vm.serial());
    pressed_while_pausing(&vm, &mut screen, b'r');
    vm.await_up();
    assert_eq!(state(&vm), VmState::Running);
    vm.await_progress(layout::LINE_HEARTBEAT);
}

#[test]
fn a_vm_that_asked_for_its_end_can_be_ended_while_paused() {
    let vm = TestVm::with_screen(3, "mode=busy quiet");
    for end in [|vm: &TestVm| vm.vmm.shutdown(), |vm: &TestVm| vm.vmm.delete()] {
        vm.vmm.boot().unwrap();
        let mut screen = Screen::connect(&vm.serial());
        vm.await_up();
        vm.vmm.pause().unwrap();
        screen.press(b'q');
        end(&vm).unwrap();
    }
}

/// What may come of each event while the VM stands still, at the door that the guest uses: nothing, until it goes on.
#[test]
fn what_comes_while_the_vm_is_paused_waits_for_the_resume() {
    let vm = TestVm::with_screen(2, "mode=busy quiet");
    vm.vmm.boot().unwrap();
    let counted = |name: &str| vm.counter("guest", name);
    let mut resets = 0;
    for (name, ask) in [
        ("resets", (|power| power.request(PowerRequest::Reset)) as fn(&PowerRequests)),
        ("watchdog_resets", WatchdogSink::expired),
        ("power_offs", |power| power.request(PowerRequest::Shutdown)),
    ] {
        vm.await_up();
        vm.vmm.pause().unwrap();
        let before = Arc::downgrade(&vm.machine());
        ask(&vm.machine().power);
        // Whatever else is asked meanwhile.
        vm.vmm.nmi().unwrap();
        vm.vmm.power_button().unwrap();
        vm.vmm.pause().unwrap();
        assert_eq!((state(&vm), counted(name)), (VmState::Paused, 0), "{name}");
        drop(vm.vmm.resume().unwrap());
        vm.await_that("the end of the machine", |_| before.upgrade().is_none());
        vm.await_that("the count", |vm| vm.counter("guest", name) == 1);
        resets += 1;
        if resets == 3 {
            vm.await_that("the end", |vm| state(vm) == VmState::Shutdown);
        } else {
            vm.await_up();
            assert_eq!(state(&vm), VmState::Running);
        }
    }
    // The counts are the VM's: a delete forgets them.
    vm.vmm.delete().unwrap();
    assert!(vm.vmm.counters().is_err());
}

#[test]
fn a_panic_is_told_in_every_phase_and_changes_none() {
    let mut config = config(1, "mode=halt");
    config.pvpanic = true;
    let vm = TestVm::with(config, |_| ConsoleConfig {
        mode: ConsoleMode::Null,
        file: None,
        socket: None,
        id: None,
    });
    vm.start();
    let tell = |value: u8| vm.machine().pio.write(0x505, &[value], |_| panic!("no ticket"));
    tell(1);
    vm.await_that("the panic", |vm| vm.counter("guest", "panics") == 1);
    assert_eq!(state(&vm), VmState::Running);
    let told = vm.vmm.info().unwrap().last_error;
    assert_eq!(told.as_deref(), Some("the guest's kernel has crashed (pvpanic)"));
    vm.vmm.pause().unwrap();
    tell(2);
    vm.await_that("the other kernel", |vm| vm.counter("guest", "crash_kernels") == 1);
    assert_eq!(state(&vm), VmState::Paused);
    assert_eq!(vm.counter("pvpanic", "panics"), 1);
}

#[test]
fn the_power_button_is_an_event_of_the_event_device() {
    let vm = TestVm::created(1, "mode=halt");
    assert!(vm.vmm.power_button().is_err(), "there is nobody to notice");
    vm.start();
    let events = || {
        let mut data = [0; 4];
        vm.machine().mmio.read(vmm::memory::layout::GED.0, &mut data);
        u32::from_le_bytes(data)
    };
    vm.vmm.power_button().unwrap();
    assert_eq!((events(), events()), (GedEvent::PowerButton.bit(), 0));
    vm.vmm.pause().unwrap();
    vm.vmm.power_button().unwrap();
    assert_eq!(vm.counter("ged", "events"), 2);
    drop(vm.vmm.resume().unwrap());
    assert_eq!(events(), GedEvent::PowerButton.bit());
    vm.vmm.shutdown().unwrap();
    assert!(vm.vmm.power_button().is_err());
}

#[test]
fn a_triple_fault_resets_again_and_again() {
    // Says T, loads an IDT of no entries, and raises an exception that nobody handles.
    let load_no_idt = [0x0F, 0x01, 0x1C, 0x25, 0x00, 0x08, 0x20, 0x00]; // lidt [200800h]
    let ud2 = [0x0F, 0x0B];
    let vm = TestVm::tiny(&[&tiny::SAY_T[..], &load_no_idt, &ud2].concat());
    vm.vmm.boot().unwrap();
    vm.await_that("five resets", |vm| vm.output().len() > 5);
    assert!(vm.output().bytes().all(|byte| byte == b'T'), "{}", vm.output());
    // Between two of its resets it can be paused and ended like every other.
    for _ in 0..5 {
        vm.vmm.pause().unwrap();
        let said = vm.output().len();
        assert_eq!(state(&vm), VmState::Paused);
        drop(vm.vmm.resume().unwrap());
        vm.await_that("another reset", |vm| vm.output().len() > said + 1);
    }
    vm.vmm.delete().unwrap();
}
