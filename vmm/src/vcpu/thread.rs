//! Starting a vCPU thread.

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{Builder, JoinHandle};

use crossbeam_queue::ArrayQueue;
use kvm_ioctls::VcpuFd;
use vcpu_state::sync::Arc;
use vcpu_state::{Member, Ticket};

use super::identity::Identity;
use super::reset;
pub use super::run_loop::End;
use super::run_loop::{RunLoop, VcpuBus};
use super::run_page::RunPage;
use super::signal::SignalKick;
use crate::vm::{KvmError, Machine};

/// Enough for the loop, a device's register write and the report of a failure.
const STACK: usize = 256 << 10;

/// A vCPU thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread of vCPU {index}: {source}")]
pub struct SpawnError {
    index: usize,
    source: io::Error,
}

/// What goes from one thread of a vCPU to the next: KVM's vCPU, with no exit left to complete, and what
/// it still has to wait for before it may enter the guest.
pub struct Vcpu {
    fd: VcpuFd,
    tickets: Vec<Ticket>,
    identity: Option<Identity>,
}

impl Vcpu {
    /// One that has not run yet, with what its thread still has to tell KVM of it.
    #[must_use]
    pub fn new(fd: VcpuFd, identity: Option<Identity>) -> Self {
        Self { fd, tickets: Vec::new(), identity }
    }

    /// Makes it one that its guest does not know: it waits for an INIT, and owes nothing.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn reset(&mut self) -> Result<(), KvmError> {
        self.tickets.clear();
        reset::to_power_on(&self.fd)
    }
}

/// A thread that runs a vCPU, and gives it back when it ends.
pub type VcpuThread = JoinHandle<Option<Vcpu>>;

/// What a vCPU thread is made of.
pub struct VcpuParts {
    /// Its slot; dropped, and so DEAD, when the thread ends.
    pub member: Member,
    /// The vCPU.
    pub vcpu: Vcpu,
    /// The machine that it belongs to.
    pub machine: Arc<Machine>,
    /// Where its thread announces itself to be kicked.
    pub kick: Arc<SignalKick>,
}

/// Starts the thread. On it, first `begin` is called, which says whether the vCPU may start; the
/// loop then parks if the group is held; in the end `ended` is called. The thread's result is the vCPU.
///
/// # Errors
/// The host has no thread left; the slot is DEAD then, and the vCPU comes back.
pub fn spawn(
    parts: VcpuParts,
    begin: impl FnOnce() -> bool + Send + 'static,
    ended: impl FnOnce(usize, End) + Send + 'static,
) -> Result<VcpuThread, (SpawnError, Option<Box<Vcpu>>)> {
    let index = parts.member.index();
    // Beside the thread's closure, which would be lost with a thread that cannot start. A channel would
    // have the new thread sleep until the parts come.
    let handed = Arc::new(ArrayQueue::new(1));
    // Cannot fail: it is empty.
    let _ = handed.push(parts);
    let taken = Arc::clone(&handed);
    Builder::new()
        .name(format!("vcpu{index}"))
        .stack_size(STACK)
        .spawn(move || taken.pop().map(|parts| run(parts, begin, ended)))
        .map_err(|source| {
            (SpawnError { index, source }, handed.pop().map(|parts| Box::new(parts.vcpu)))
        })
}

/// The whole life of the thread.
fn run(parts: VcpuParts, begin: impl FnOnce() -> bool, ended: impl FnOnce(usize, End)) -> Vcpu {
    let VcpuParts { member, vcpu: Vcpu { mut fd, tickets, identity }, machine, kick } = parts;
    let index = member.index();
    kick.announce(index);
    if !begin() {
        return Vcpu { fd, tickets, identity };
    }
    let run = RunPage::of(&mut fd);
    // SAFETY: dropped below, on this thread, before the file descriptor that moves into `vcpu`;
    // moving it does not move the mapping.
    let kickable = unsafe { run.kickable() };
    let bus = VcpuBus::new(machine, tickets);
    let mut vcpu = RunLoop { member, run, fd, bus, completion_owed: false, identity };
    let end = panic::catch_unwind(AssertUnwindSafe(|| vcpu.run()))
        .unwrap_or_else(|payload| End::Panicked(message(payload.as_ref())));
    drop(kickable);
    let RunLoop { member, fd, bus, identity, .. } = vcpu;
    // DEAD first: whoever hears of the end may look at the word.
    drop(member);
    ended(index, end);
    Vcpu { fd, tickets: bus.tickets, identity }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
