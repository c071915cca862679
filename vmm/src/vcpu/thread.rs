//! Starting a vCPU thread.

use std::any::Any;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{Builder, JoinHandle};

use kvm_ioctls::VcpuFd;
use vcpu_state::Member;
use vcpu_state::sync::Arc;

pub use super::run_loop::End;
use super::run_loop::{RunLoop, VcpuBus};
use super::run_page::RunPage;
use super::signal::SignalKick;
use crate::vm::Machine;

/// Enough for the loop, a device's register write and the report of a failure.
const STACK: usize = 256 << 10;

/// A vCPU thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread of vCPU {index}: {source}")]
pub struct SpawnError {
    index: usize,
    source: io::Error,
}

/// What a vCPU thread is made of.
pub struct VcpuParts {
    /// Its slot; dropped, and so DEAD, when the thread ends.
    pub member: Member,
    /// The vCPU.
    pub fd: VcpuFd,
    /// The machine that it belongs to.
    pub machine: Arc<Machine>,
    /// Where its thread announces itself to be kicked.
    pub kick: Arc<SignalKick>,
}

/// Starts the thread. On it, first `begin` is called, which says whether the vCPU may start; the
/// loop then parks if the group is held; in the end `ended` is called.
///
/// # Errors
/// The host has no thread left; the slot is DEAD then.
pub fn spawn(
    parts: VcpuParts,
    begin: impl FnOnce() -> bool + Send + 'static,
    ended: impl FnOnce(usize, End) + Send + 'static,
) -> Result<JoinHandle<()>, SpawnError> {
    let index = parts.member.index();
    Builder::new()
        .name(format!("vcpu{index}"))
        .stack_size(STACK)
        .spawn(move || {
            let VcpuParts { member, mut fd, machine, kick } = parts;
            kick.announce(index);
            if !begin() {
                return;
            }
            let run = RunPage::of(&mut fd);
            // SAFETY: dropped below, on this thread, before the file descriptor that moves into
            // `vcpu`; moving it does not move the mapping.
            let kickable = unsafe { run.kickable() };
            let bus = VcpuBus { machine, ticket: None };
            let mut vcpu = RunLoop { member, run, fd, bus, completion_owed: false };
            let end = panic::catch_unwind(AssertUnwindSafe(|| vcpu.run()))
                .unwrap_or_else(|payload| End::Panicked(message(payload.as_ref())));
            drop(kickable);
            // DEAD first: whoever hears of the end may look at the word.
            drop(vcpu);
            ended(index, end);
        })
        .map_err(|source| SpawnError { index, source })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
