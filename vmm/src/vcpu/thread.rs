//! Starting a vCPU thread.

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{Builder, JoinHandle};

use crossbeam_queue::ArrayQueue;
use kvm_ioctls::{VcpuFd, VmFd};
use vcpu_state::Member;
use vcpu_state::sync::Arc;

use super::handle::VcpuHandle;
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

/// What goes from one thread of a vCPU to the next: KVM's vCPU, with no exit left to complete, and the handle, with what
/// it still has to wait for before it may enter the guest.
pub struct Vcpu {
    fd: VcpuFd,
    handle: Arc<VcpuHandle>,
}

impl Vcpu {
    /// One that has not run yet, with what is still to be told KVM of it.
    ///
    /// # Errors
    /// There is no room for another descriptor.
    pub fn new(vm: &VmFd, fd: VcpuFd, identity: Identity) -> Result<Self, KvmError> {
        let handle = Arc::new(VcpuHandle::new(vm, &fd, identity)?);
        Ok(Self { fd, handle })
    }

    /// The way to it beside its thread.
    #[must_use]
    pub fn handle(&self) -> &Arc<VcpuHandle> {
        &self.handle
    }

    /// Makes it one that its guest does not know: it waits for an INIT, and owes nothing.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn reset(&mut self) -> Result<(), KvmError> {
        while self.handle.take_owed().is_some() {}
        reset::to_power_on(&self.fd)
    }
}

/// A thread that runs a vCPU.
pub struct VcpuThread {
    thread: JoinHandle<Option<Vcpu>>,
    handle: Arc<VcpuHandle>,
}

impl VcpuThread {
    /// Waits for its end, and takes the vCPU back; there is none if the thread panicked outside of its loop.
    #[must_use]
    pub fn join(self) -> Option<Vcpu> {
        // A panic has been reported by the hook, and the word says DEAD.
        self.thread.join().ok().flatten()
    }

    /// The way to its vCPU.
    #[must_use]
    pub fn handle(&self) -> &Arc<VcpuHandle> {
        &self.handle
    }
}

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
    let (index, handle) = (parts.member.index(), Arc::clone(&parts.vcpu.handle));
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
        .map(|thread| VcpuThread { thread, handle })
        .map_err(|source| {
            (SpawnError { index, source }, handed.pop().map(|parts| Box::new(parts.vcpu)))
        })
}

/// The whole life of the thread.
fn run(parts: VcpuParts, begin: impl FnOnce() -> bool, ended: impl FnOnce(usize, End)) -> Vcpu {
    let VcpuParts { member, vcpu: Vcpu { mut fd, handle }, machine, kick } = parts;
    let index = member.index();
    kick.announce(index);
    if !begin() {
        return Vcpu { fd, handle };
    }
    let run = RunPage::of(&mut fd);
    // SAFETY: dropped below, on this thread, before the file descriptor that moves into `vcpu`;
    // moving it does not move the mapping.
    let kickable = unsafe { run.kickable() };
    let bus = VcpuBus::new(machine);
    let mut vcpu = RunLoop { member, run, fd, bus, completion_owed: false, handle };
    let end = panic::catch_unwind(AssertUnwindSafe(|| vcpu.run()))
        .unwrap_or_else(|payload| End::Panicked(message(payload.as_ref())));
    drop(kickable);
    let RunLoop { member, fd, bus, handle, .. } = vcpu;
    // Before DEAD: who finds the word dead finds them.
    for ticket in bus.tickets {
        handle.owe(ticket);
    }
    // DEAD first: whoever hears of the end may look at the word.
    drop(member);
    ended(index, end);
    Vcpu { fd, handle }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
