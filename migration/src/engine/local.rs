//! Handing a VM over to another VMM on the same host: nothing of its memory is copied, the destination takes over what is behind it.
//!
//! ```text
//!   source                                                     destination
//!   Hello, Adopt with descriptors, Describe ─────────────────▶ builds its VM around that memory and those disks, which it does not touch
//!   pauses the VM; state, Prepare ───────────────────────────▶ restores it, makes ready
//!   gives up the disks, Commit ──────────────────────────────▶ takes the disks, and the memory is its own; starts
//!   ends its VM ◀──────────────────────────────────────────── Committed
//! ```
//!
//! Phases, cancel, doubt and disks are those of any migration ([`super::phase`], `commit`).
//!
//! Invariants:
//! - Memory has one owner. It is the source's until `Commit`: a destination that ends before it has left no trace in it, and the source goes on with
//!   it. From the first byte of `Commit` on the source does not touch it, unless it is told that the destination has not got it.
//! - Disks are passed with the memory if both ends can do so: all files of all disks, none twice and none else ([`Adoption`]). Otherwise the destination opens them by
//!   their paths. Their locks are handed over as in any migration.
//! - There is no log and no round: nothing is sent that could be written meanwhile.

use super::adoption::{Adoption, Extent};
use super::error::MigrationError;
use super::handle::Handle;
use super::phase::SourceEvent;
use super::receive::Destination;
use super::send::{Sent, Source};
use super::vm::{DestinationVm, SourceVm};
use super::{Options, Report};
use crate::memory::Layout;
use crate::wire::{MAX_PASSED, Message, Transport, WireError, unexpected_message};

/// Sends a VM to another VMM on this host. Of the options only the patience counts: there is nothing to converge.
pub fn send_local<V: SourceVm, T: Transport>(
    vm: &mut V,
    transport: T,
    options: &Options,
    handle: &Handle,
) -> Sent<V::Still> {
    let mut source = Source::new(vm, vec![transport], options, handle);
    let result = source.run_local();
    source.conclude(result)
}

impl<V: SourceVm, T: Transport> Source<'_, V, T> {
    fn run_local(&mut self) -> Result<Report, MigrationError> {
        let capabilities = self.greet()?;
        if !capabilities.can_adopt() {
            return Err(MigrationError::NotLocal);
        }
        let parts = self.vm.parts(Extent::of(capabilities));
        let parts = parts.map_err(MigrationError::vm("pass what the VM consists of"))?;
        if parts.len() > MAX_PASSED {
            return Err(MigrationError::TooManyFiles(parts.len()));
        }
        self.control()?.pass(&parts)?;
        self.describe()?;
        self.await_built()?;
        self.on(SourceEvent::Accepted)?;
        let mut downtime = self.stop()?;
        let (phase, state) = self.saved()?;
        downtime.pages = downtime.lap();
        self.hand_over(0, (phase, &state), downtime)
    }
}

/// How the destination comes by the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// It is sent in rounds.
    Sent,
    /// It was taken over.
    Adopted,
}

impl<V: DestinationVm, T: Transport> Destination<'_, V, T> {
    /// What VM it is to be, and how it comes by its memory.
    pub(super) fn described(&mut self) -> Result<(Layout, Vec<u8>, Memory), MigrationError> {
        let mut memory = Memory::Sent;
        loop {
            match self.control.message("Describe")? {
                Message::Adopt { parts } if memory == Memory::Sent => {
                    let passed = self.control.take_passed(parts)?;
                    let passed = Adoption::of(passed, self.extent)?;
                    self.vm.adopt(passed).map_err(MigrationError::vm("take over its memory"))?;
                    memory = Memory::Adopted;
                }
                Message::Describe { regions, config } => {
                    return Ok((Layout::new(regions)?, config, memory));
                }
                other => {
                    let unexpected: WireError = unexpected_message(&other, "Describe");
                    return Err(unexpected.into());
                }
            }
        }
    }
}
