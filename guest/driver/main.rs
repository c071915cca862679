//! The driver program: carries out the host's commands at CPL 3, on as many vCPUs as there are.
//!
//! It is compiled by the build script without the standard library, for the host's own target, at a fixed address.
//! Interrupts are off: it polls. Every access to a device is one plain `mov`, which every KVM's emulator knows.
#![no_std]
#![no_main]

mod arena;
mod block;
mod clock;
mod cpus;
mod io;
mod lease;
mod memory;
mod net;
mod patrol;
mod pci;
mod queue_reset;
mod registers;
#[path = "../src/driver.rs"]
#[expect(dead_code, reason = "some of it is the host's part")]
mod shared;
mod storm;
mod together;
mod virtio;

use io::Line;
use shared::{Command, OUTCOME_PANIC, OUTCOME_UNKNOWN};

/// Entered by each vCPU on its own stack.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.driver")]
pub extern "C" fn driver(vcpu: u64) -> ! {
    let line = Line::of(vcpu);
    let mut done = line.done();
    loop {
        let (command, sequence) = line.command();
        if sequence == done {
            core::hint::spin_loop();
            continue;
        }
        line.clear_results();
        let outcome = carry_out(&line, vcpu, command);
        line.result(0, outcome);
        done = sequence;
        line.finish(sequence);
    }
}

fn carry_out(line: &Line, vcpu: u64, command: u32) -> u64 {
    const PROBE: u32 = Command::Probe as u32;
    const BLOCK: u32 = Command::Block as u32;
    const TRANSMIT: u32 = Command::Transmit as u32;
    const RECEIVE: u32 = Command::Receive as u32;
    const STORM: u32 = Command::Storm as u32;
    const READ_LOOP: u32 = Command::ReadLoop as u32;
    const ACTIVATE: u32 = Command::Activate as u32;
    const TOGETHER: u32 = Command::Together as u32;
    const EJECT: u32 = Command::Eject as u32;
    const HAMMER: u32 = Command::Hammer as u32;
    const EJECT_VCPU: u32 = Command::EjectVcpu as u32;
    const SCAN_VCPUS: u32 = Command::ScanVcpus as u32;
    const MEMORY: u32 = Command::Memory as u32;
    const FILL: u32 = Command::Fill as u32;
    const COMPARE: u32 = Command::Compare as u32;
    const PORT_LOOP: u32 = Command::PortLoop as u32;
    const RESET_QUEUE: u32 = Command::ResetQueue as u32;
    const CLOCK: u32 = Command::Clock as u32;
    const LEASE: u32 = Command::Lease as u32;
    const PATROL: u32 = Command::Patrol as u32;
    let end = match command {
        PROBE => pci::probe(line),
        BLOCK => block::run(line, vcpu),
        TRANSMIT => net::transmit(line, vcpu),
        RECEIVE => net::receive(line, vcpu),
        STORM => storm::run(line, vcpu),
        READ_LOOP => io::read_loop(line),
        PORT_LOOP => io::port_loop(line),
        ACTIVATE => storm::activate(line, vcpu),
        TOGETHER => together::run(line, vcpu),
        MEMORY => memory::request(line, vcpu),
        FILL => memory::words(line, true),
        COMPARE => memory::words(line, false),
        RESET_QUEUE => queue_reset::run(line, vcpu),
        CLOCK => clock::run(line),
        LEASE => lease::run(line, vcpu),
        PATROL => patrol::run(line, vcpu),
        EJECT => {
            pci::eject(line.argument(0) as u32);
            Ok(())
        }
        HAMMER => cpus::hammer(line),
        EJECT_VCPU => {
            cpus::eject(line);
            Ok(())
        }
        SCAN_VCPUS => {
            cpus::scan(line);
            Ok(())
        }
        _ => return OUTCOME_UNKNOWN,
    };
    end.err().unwrap_or(shared::OUTCOME_DONE)
}

/// The core library was compiled for unwinding and names this; nothing here unwinds.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Whose panic it is, the stack tells.
    let here = 0_u8;
    let stack = (&raw const here).addr() as u64;
    let line = Line::of((stack - shared::STACKS) / shared::STACK_SIZE);
    line.result(0, OUTCOME_PANIC);
    line.finish(line.command().1);
    loop {
        core::hint::spin_loop();
    }
}
