//! A VM in the foreground, as a person at a terminal has it.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use rustix::process::{Pid, Signal, kill_process};
use support::kernels::{ASTRAY, LOW, elf};
use support::terminal::AtTerminal;
use support::{Background, Bed};

const GREETING: &str = " vCPUs up";

#[test]
fn every_key_of_the_guest() {
    let bed = Bed::new();
    let mut terminal = AtTerminal::run(&bed, &["run", "--name", "web", "--cpus", "boot=2"]);
    terminal.wait_until_raw();
    terminal.wait_for(GREETING);
    for (key, said) in [
        (b"b", "mode: busy at CPL 3\r\n"),
        (b"k", "mode: busy at CPL 0\r\n"),
        (b"i", "mode: PIO storm\r\n"),
        (b"m", "mode: MMIO storm\r\n"),
        (b"h", "mode: halted\r\n"),
        (b"s", "vCPUs: 2 of 2 up"),
        (b"s", "wrong reads: 0 "),
        (b"s", "NMIs by vCPU: 0 0\r\n"),
        (b"?", "? this help\r\n"),
        (b"z", "unknown key 0x7a"),
        (b"r", "reboot\r\n"),
    ] {
        terminal.press(key);
        terminal.wait_for(said);
    }
    terminal.wait_for(GREETING);
    // What is no key of the VMM's is the guest's.
    terminal.press(b"\x01y");
    terminal.wait_for("unknown key 0x79,");
    bed.ok(&["nmi", "web"]);
    terminal.press(b"s");
    terminal.wait_for("NMIs by vCPU: 1 1\r\n");
    bed.ok(&["reboot", "web"]);
    terminal.wait_for(GREETING);
    // While it is paused keys wait.
    bed.ok(&["pause", "web"]);
    terminal.press(b"b");
    assert!(bed.ok(&["info", "web"]).contains("Paused"));
    bed.ok(&["resume", "web"]);
    terminal.wait_for("mode: busy at CPL 3\r\n");
    terminal.press(b"q");
    terminal.wait_for("power off\r\n");
    assert_eq!(terminal.end(), Some(0));
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
}

#[test]
fn ctrl_a_x_ends_it_running_or_paused() {
    for paused in [false, true] {
        let bed = Bed::new();
        let mut terminal = AtTerminal::run(&bed, &["run", "--name", "web"]);
        terminal.wait_until_raw();
        terminal.press(b"\x01h");
        terminal.wait_for("this help");
        if paused {
            bed.ok(&["pause", "web"]);
        }
        terminal.press(b"\x01x");
        assert_eq!(terminal.end(), Some(0));
        assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    }
}

#[test]
fn a_crash_of_the_guest_ends_it() {
    let bed = Bed::new();
    let mut terminal = AtTerminal::run(&bed, &["run"]);
    terminal.wait_for(GREETING);
    terminal.press(b"x");
    terminal.wait_for("guest crashed: vector 0xe");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn a_vcpu_that_cannot_go_on_ends_it_with_a_report() {
    let bed = Bed::new();
    std::fs::write(bed.path("kernel"), elf(LOW, &ASTRAY)).expect("written");
    let mut terminal = AtTerminal::run(&bed, &["run", "--kernel", "kernel"]);
    let said = terminal.wait_for("\nerror: vCPU 0 stopped: KVM ");
    assert!(!said.contains("panicked"), "{said}");
    terminal.wait_for("at RIP 0xd0000000");
    terminal.wait_for("rax=00000000d0000000");
    assert_eq!(terminal.end(), Some(1));
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
}

#[test]
fn what_cannot_boot_leaves_the_terminal_as_it_was() {
    let bed = Bed::new();
    std::fs::write(bed.path("kernel"), "no kernel at all").expect("written");
    let mut terminal = AtTerminal::run(&bed, &["run", "--kernel", "kernel"]);
    let said = terminal.wait_for("\n");
    assert!(said.starts_with("error: kernel kernel: it is "), "{said}");
    assert_eq!(terminal.end(), Some(1));
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
}

#[test]
fn signals_end_it_and_the_terminal_is_restored() {
    for (signal, status) in
        [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)]
    {
        let bed = Bed::new();
        let mut terminal = AtTerminal::run(&bed, &["run"]);
        terminal.wait_until_raw();
        kill_process(Pid::from_child(&terminal.child), signal).expect("sent");
        assert_eq!(terminal.end(), Some(status));
        assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    }
}

#[test]
fn commands_end_it_and_the_terminal_is_restored() {
    for (command, status) in [("stop", 0), ("kill", 0)] {
        let bed = Bed::new();
        let mut terminal = AtTerminal::run(&bed, &["run", "--name", "web"]);
        terminal.wait_until_raw();
        bed.ok(&[command, "web"]);
        assert_eq!(terminal.end(), Some(status), "{command}");
        assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    }
}

#[test]
fn top_shows_a_vm_and_pauses_it() {
    let bed = Bed::new();
    let vm = Background::run(&bed, "web", &[]);
    let mut terminal = AtTerminal::run(&bed, &["top", "web"]);
    terminal.wait_for("Running");
    terminal.press(b"p");
    terminal.wait_for("Paused");
    assert!(bed.ok(&["info"]).contains("Paused"));
    bed.ok(&["kill"]);
    terminal.wait_for("has ended");
    terminal.press(b" ");
    assert_eq!(terminal.end(), Some(0));
    drop(vm);
}
