//! Exits per vCPU and kind. Only the vCPU's own thread writes its line, so counting costs no sharing.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// Why KVM_RUN returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum ExitKind {
    /// A port was read.
    IoIn,
    /// A port was written.
    IoOut,
    /// Memory without RAM was read.
    MmioRead,
    /// Memory without RAM was written.
    MmioWrite,
    /// A signal, which is to say a kick.
    Interrupted,
    /// Anything else.
    Other,
}

/// Every kind with its name in `vm.counters`.
const KINDS: [(ExitKind, &str); 6] = [
    (ExitKind::IoIn, "io_in"),
    (ExitKind::IoOut, "io_out"),
    (ExitKind::MmioRead, "mmio_read"),
    (ExitKind::MmioWrite, "mmio_write"),
    (ExitKind::Interrupted, "interrupted"),
    (ExitKind::Other, "other"),
];

type Line = CachePadded<[AtomicU64; KINDS.len()]>;

/// The exits of every vCPU of a VM.
#[derive(Debug)]
pub struct ExitCounters {
    lines: Box<[Line]>,
}

impl ExitCounters {
    /// Zeros for this many vCPUs.
    #[must_use]
    pub fn new(vcpus: usize) -> Self {
        Self { lines: (0..vcpus).map(|_| Line::default()).collect() }
    }

    /// Counts one exit. To be called by the vCPU's own thread only.
    pub(super) fn count(&self, vcpu: usize, kind: ExitKind) {
        // Relaxed, and a load and a store instead of an addition: one writer, readers want totals.
        let counter = &self.lines[vcpu][kind as usize];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Totals over all vCPUs, by name.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        KINDS.iter().map(|(kind, name)| {
            (*name, self.lines.iter().map(|l| l[*kind as usize].load(Ordering::Relaxed)).sum())
        })
    }
}
