//! What a vCPU does with one exit: dispatch it to the bus, report it, or fail.

use kvm_bindings::{KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::VcpuExit;

use super::counters::ExitKind;

/// What is left to do after an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// The exit completes at the next KVM_RUN: not a consistent point before that.
    CompletionOwed,
    /// Nothing.
    Done,
    /// The vCPU cannot go on, because the guest ended.
    GuestEnded(GuestEnd),
    /// The exit is none that can be handled.
    Failed,
}

/// How a guest ends by an exit rather than by a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestEnd {
    /// A triple fault, or KVM's reset event.
    Reset,
    /// KVM's shutdown event.
    Shutdown,
    /// KVM's crash event.
    Crash,
}

/// The address spaces as a vCPU sees them.
pub(super) trait Ports {
    fn read_port(&self, port: u16, data: &mut [u8]);
    fn write_port(&mut self, port: u16, data: &[u8]);
    fn read_memory(&self, address: u64, data: &mut [u8]);
    fn write_memory(&mut self, address: u64, data: &[u8]);
}

/// Carries one exit out. A string instruction's port exit holds several accesses of `port_size` bytes.
pub(super) fn handle(
    exit: VcpuExit<'_>,
    port_size: usize,
    bus: &mut impl Ports,
) -> (ExitKind, Handled) {
    match exit {
        VcpuExit::IoIn(port, data) => {
            data.chunks_mut(port_size).for_each(|one| bus.read_port(port, one));
            (ExitKind::IoIn, Handled::CompletionOwed)
        }
        VcpuExit::IoOut(port, data) => {
            data.chunks(port_size).for_each(|one| bus.write_port(port, one));
            (ExitKind::IoOut, Handled::CompletionOwed)
        }
        VcpuExit::MmioRead(address, data) => {
            bus.read_memory(address, data);
            (ExitKind::MmioRead, Handled::CompletionOwed)
        }
        VcpuExit::MmioWrite(address, data) => {
            bus.write_memory(address, data);
            (ExitKind::MmioWrite, Handled::CompletionOwed)
        }
        VcpuExit::Intr => (ExitKind::Interrupted, Handled::Done),
        VcpuExit::Shutdown => (ExitKind::Other, Handled::GuestEnded(GuestEnd::Reset)),
        VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _) => {
            (ExitKind::Other, Handled::GuestEnded(GuestEnd::Reset))
        }
        VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _) => {
            (ExitKind::Other, Handled::GuestEnded(GuestEnd::Shutdown))
        }
        VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, _) => {
            (ExitKind::Other, Handled::GuestEnded(GuestEnd::Crash))
        }
        _ => (ExitKind::Other, Handled::Failed),
    }
}
