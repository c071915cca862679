//! Exits as the guest counted them and as the host did: none lost, none doubled.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use devices::CounterSource;
use stillpoint_guest::layout;
use vcpu_state::sync::Arc;
use vm_memory::{Bytes, GuestAddress};
use vmm::vm::Machine;

use crate::embedded::{TestVm, probe::StormProbe};

/// One VM's machine, from a boot to the next, and the eyes on it.
pub struct Account {
    pub machine: Arc<Machine>,
    vcpus: u32,
    probe: StormProbe,
    /// Keys pressed, and NMIs asked for.
    pub keys: AtomicU64,
    pub nmis: AtomicU64,
}

/// Everything of a VM that stands still while it is held.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    lines: Vec<u8>,
    exits: Vec<(&'static str, u64)>,
    accesses: u64,
}

impl Account {
    /// To be opened while the guest is halted.
    pub fn open(vm: &TestVm) -> Self {
        Self {
            machine: vm.machine(),
            vcpus: vm.vcpus,
            probe: StormProbe::attach(vm),
            keys: AtomicU64::new(0),
            nmis: AtomicU64::new(0),
        }
    }

    pub fn picture(&self) -> Picture {
        let mut lines = vec![0; usize::try_from(layout::LINE_SIZE).unwrap() * self.vcpus as usize];
        self.machine.ram.memory().read_slice(&mut lines, GuestAddress(layout::LINES)).unwrap();
        let exits = self.machine.exits.totals().collect();
        Picture { lines, exits, accesses: self.probe.accesses() }
    }

    /// One field of every vCPU's line.
    pub fn lines(&self, field: u64) -> Vec<u64> {
        self.picture().lines(field)
    }

    fn sum(&self, field: u64) -> u64 {
        self.lines(field).iter().sum()
    }

    fn mmio_exits(&self) -> u64 {
        let totals = self.machine.exits.totals();
        totals.filter(|(name, _)| name.starts_with("mmio_")).map(|(_, count)| count).sum()
    }

    fn unclaimed(&self) -> u64 {
        let counters = self.machine.mmio.counters().into_iter();
        counters.filter(|(name, _)| name.starts_with("unclaimed_")).map(|(_, count)| count).sum()
    }

    /// While no storm runs: what the guest counted is what was done, plus at most so many accesses
    /// that a vCPU did not come to count because it was killed.
    pub fn balance(&self, uncounted: u64) -> Result<(), String> {
        for (what, counted, done) in [
            ("port accesses", self.sum(layout::LINE_PIO), self.probe.accesses()),
            ("MMIO exits", self.sum(layout::LINE_MMIO), self.mmio_exits()),
            ("unclaimed MMIO accesses", self.sum(layout::LINE_MMIO), self.unclaimed()),
        ] {
            if !(counted..=counted + uncounted).contains(&done) {
                return Err(format!("{what}: the guest counted {counted}, {done} were done"));
            }
        }
        let bad = self.lines(layout::LINE_BAD_READS);
        if bad.iter().any(|bad| *bad != 0) {
            return Err(format!("reads gave something else than they must: {bad:?}"));
        }
        Ok(())
    }

    /// How many NMIs were asked for so far.
    pub fn nmis(&self) -> u64 {
        self.nmis.load(Ordering::SeqCst)
    }
}

impl Picture {
    fn lines(&self, field: u64) -> Vec<u64> {
        let field = usize::try_from(field).unwrap();
        let lines = self.lines.chunks(usize::try_from(layout::LINE_SIZE).unwrap());
        lines.map(|line| u64::from_le_bytes(line[field..field + 8].try_into().unwrap())).collect()
    }

    /// What differs, if anything does.
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self == now {
            return None;
        }
        let mut text = String::new();
        let fields = (0..layout::LINE_SIZE).step_by(8);
        for (field, vcpu) in fields.flat_map(|f| (0..self.lines.len() / 64).map(move |v| (f, v))) {
            let (was, is) = (self.lines(field)[vcpu], now.lines(field)[vcpu]);
            if was != is {
                let _ = write!(text, "line {vcpu}, offset {field}: {was} became {is}; ");
            }
        }
        let (was, is) = ((&self.exits, self.accesses), (&now.exits, now.accesses));
        Some(format!("{text}exits and accesses: {was:?} became {is:?}"))
    }
}
