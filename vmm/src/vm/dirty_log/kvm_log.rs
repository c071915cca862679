//! KVM's log: a bitmap for each memory slot, which it sets when a page becomes writable.
//!
//! ```text
//!   manual:  KVM_GET_DIRTY_LOG (a copy) ──▶ KVM_CLEAR_DIRTY_LOG (of what was in it: forgotten, and not writable again)
//!   plain:   KVM_GET_DIRTY_LOG does both
//! ```
//!
//! Manual protection (Linux 5.1) is used where KVM has it: pages are made read-only in pieces rather than all at once under a lock that
//! vCPUs wait for; a page that was written between the two calls is noted still. With "initially set" (Linux 5.7) switching it on
//! takes no time, and the first clearing does what it would have done, in pieces as well.
//! (Linux Documentation/virt/kvm/api.rst, 4.8, 4.117, 7.18.)

use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_INITIALLY_SET,
    KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, kvm_enable_cap,
};
use kvm_ioctls::VmFd;
use migration::memory::{Layout, PageSet};
use vcpu_state::sync::Arc;

use super::clear::{self, Piece};
use super::runs;
use crate::memory::GuestRam;
use crate::memory::layout::PAGE_SIZE;
use crate::vm::KvmError;
use crate::vm::slots::{self, Logging};

/// Words of the bitmap that are cleared at once: 64 MiB of memory.
const PIECE: usize = 256;

/// Who makes pages read-only again that are in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    /// Who asks for it. When it is switched on, no page is noted.
    Manual,
    /// The same. When it is switched on, every page is noted.
    ManualAllSet,
    /// KVM, when it is read.
    WhenRead,
}

/// What comes after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The guest goes on.
    GoOn,
    /// Nothing.
    Nothing,
}

/// KVM's log while it is on. Dropping it switches it off.
#[derive(Debug)]
pub(super) struct KvmLog {
    vm: Arc<VmFd>,
    ram: GuestRam,
    protection: Protection,
}

impl KvmLog {
    /// Switches it on.
    pub(super) fn start(vm: &Arc<VmFd>, ram: &GuestRam) -> Result<Self, KvmError> {
        let protection = protection(vm)?;
        // From here on its drop switches off what was switched on.
        let log = Self { vm: Arc::clone(vm), ram: ram.clone(), protection };
        slots::set(vm, ram, Logging::On)?;
        if protection == Protection::ManualAllSet {
            for (slot, region) in slots::of(ram) {
                let pages = region.size / PAGE_SIZE;
                let words = usize::try_from(pages.div_ceil(64)).unwrap_or(usize::MAX);
                log.clear(slot, pages, &vec![u64::MAX; words])?;
            }
        }
        Ok(log)
    }

    /// Adds the pages that were written since the last time.
    pub(super) fn read(
        &self,
        layout: &Layout,
        pages: &mut PageSet,
        then: Then,
    ) -> Result<(), KvmError> {
        for ((slot, region), run) in slots::of(&self.ram).zip(runs(layout)) {
            let size = usize::try_from(region.size).unwrap_or(usize::MAX);
            let bits = self.vm.get_dirty_log(slot, size);
            let bits = bits.map_err(KvmError::of("KVM_GET_DIRTY_LOG"))?;
            pages.insert_bits(run, &bits);
            if then == Then::GoOn && self.protection != Protection::WhenRead {
                self.clear(slot, run.count(), &bits)?;
            }
        }
        Ok(())
    }

    /// Forgets the pages of a bitmap, and has KVM note them anew.
    fn clear(&self, slot: u32, pages: u64, bits: &[u64]) -> Result<(), KvmError> {
        let mut first = 0;
        for piece in bits.chunks(PIECE) {
            let count = (piece.len() as u64 * 64).min(pages - first);
            if piece.iter().any(|word| *word != 0) {
                let piece = Piece { slot, first, count, bits: piece };
                clear::clear(&self.vm, piece).map_err(KvmError::of("KVM_CLEAR_DIRTY_LOG"))?;
            }
            first += count;
        }
        Ok(())
    }
}

impl Drop for KvmLog {
    fn drop(&mut self) {
        if let Err(error) = slots::set(&self.vm, &self.ram, Logging::Off) {
            tracing::warn!(%error, "KVM goes on logging which pages the guest writes");
        }
    }
}

/// Asks for the best there is.
fn protection(vm: &VmFd) -> Result<Protection, KvmError> {
    let offered = vm.check_extension_raw(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.into());
    let offered = u32::try_from(offered).unwrap_or(0)
        & (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    if offered & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE == 0 {
        return Ok(Protection::WhenRead);
    }
    let wanted = kvm_enable_cap {
        cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        args: [offered.into(), 0, 0, 0],
        ..Default::default()
    };
    vm.enable_cap(&wanted)
        .map_err(KvmError::of("KVM_ENABLE_CAP(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)"))?;
    let all_set = offered & KVM_DIRTY_LOG_INITIALLY_SET != 0;
    Ok(if all_set { Protection::ManualAllSet } else { Protection::Manual })
}
