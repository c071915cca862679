//! The bus: which device answers at an address.
//!
//! ```text
//!   vCPU ──read/write──▶ Bus ──load──▶ Map (immutable) ──bisect──▶ Arc<dyn BusDevice>
//!                         ▲
//!   hotplug, BAR move ────┘ publish / retire / relocate: a new Map takes the old one's place
//! ```
//!
//! Invariants:
//! - No two claims of a map overlap, so an address has at most one device.
//! - A look-up takes no lock and writes no cache line that another vCPU reads: `ArcSwap` notes
//!   the map in a slot that belongs to the thread.
//! - A map is never changed. An access that began before a device was retired may still reach
//!   it; no access that begins afterwards does.
//! - Changes may come from several threads at once, vCPUs among them; each is applied to the
//!   map that the one before it left, by compare-and-swap.
mod device;
mod error;
mod map;
mod range;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use vcpu_state::Ticket;

pub use device::{BusDevice, ByteRegisters, Written};
pub use error::{BusError, Claimant};
pub use range::{AddressRange, AddressSpace, InvalidRange, Mmio, Pio};

use crate::counters::CounterSource;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{ArcSwap, Guard};
use map::{Claim, Map};

/// The devices of one address space.
pub struct Bus<S> {
    map: ArcSwap<Map<S>>,
    unclaimed_reads: AtomicU64,
    unclaimed_writes: AtomicU64,
}

impl<S: AddressSpace> Default for Bus<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: AddressSpace> Bus<S> {
    /// A bus without devices.
    pub fn new() -> Self {
        Self {
            map: ArcSwap::from_pointee(Map::empty()),
            unclaimed_reads: AtomicU64::new(0),
            unclaimed_writes: AtomicU64::new(0),
        }
    }

    /// Lets a device answer at a range from now on.
    pub fn publish(
        &self,
        range: AddressRange<S>,
        device: Arc<dyn BusDevice>,
    ) -> Result<(), BusError> {
        let claim = Claim { range, device };
        self.change(|map| Ok((map.with(claim.clone())?, ())))
    }

    /// Takes the device that was published at exactly this range off the bus. Accesses in
    /// flight may still reach it.
    pub fn retire(&self, range: AddressRange<S>) -> Result<Arc<dyn BusDevice>, BusError> {
        self.change(|map| map.without(range))
    }

    /// Moves a device, as a write to a BAR does: no access finds it at both ranges or, once it
    /// was at one, at neither.
    pub fn relocate(&self, from: AddressRange<S>, to: AddressRange<S>) -> Result<(), BusError> {
        self.change(|map| {
            let (without, device) = map.without(from)?;
            Ok((without.with(Claim { range: to, device })?, ()))
        })
    }

    /// Reads `data.len()` bytes. An access that reaches over the end of a claim is split there,
    /// and bytes that no device claims read as all ones.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        let map = self.map.load();
        let mut parts = Parts { address: address & S::LAST, left: data.len() };
        let mut rest = data;
        while let Some((part, claim)) = parts.next(&map) {
            let (now, later) = rest.split_at_mut(part.len);
            rest = later;
            if let Some(claim) = claim {
                claim.device.read(part.address - claim.range.first(), now);
            } else {
                now.fill(0xFF);
                // Relaxed: a statistic.
                self.unclaimed_reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes `data`. An access that reaches over the end of a claim is split there, and bytes
    /// that no device claims go nowhere. Every ticket that a device answers with goes to `wait`: the
    /// guest must not go on before all of them are done.
    pub fn write(&self, address: u64, data: &[u8], mut wait: impl FnMut(Ticket)) {
        let map = self.map.load();
        let mut parts = Parts { address: address & S::LAST, left: data.len() };
        let mut rest = data;
        while let Some((part, claim)) = parts.next(&map) {
            let (now, later) = rest.split_at(part.len);
            rest = later;
            if let Some(claim) = claim {
                match claim.device.write(part.address - claim.range.first(), now) {
                    Written::Done => {}
                    Written::Wait(ticket) => wait(ticket),
                }
            } else {
                // Relaxed: a statistic.
                self.unclaimed_writes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What is published now: ranges in ascending order, with the devices' names.
    pub fn claims(&self) -> Vec<(AddressRange<S>, String)> {
        let map = self.map.load();
        map.claims().iter().map(|claim| (claim.range, claim.device.name().to_owned())).collect()
    }

    /// Replaces the map by what `edit` makes of it, and starts over when another thread was
    /// faster.
    fn change<T>(
        &self,
        edit: impl Fn(&Map<S>) -> Result<(Map<S>, T), BusError>,
    ) -> Result<T, BusError> {
        let mut current = self.map.load_full();
        loop {
            let (next, result) = edit(&current)?;
            let seen = self.map.compare_and_swap(&current, Arc::new(next));
            if Arc::ptr_eq(&seen, &current) {
                return Ok(result);
            }
            current = Guard::into_inner(seen);
        }
    }
}

impl<S: AddressSpace> CounterSource for Bus<S> {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        // Relaxed: statistics.
        vec![
            ("unclaimed_reads", self.unclaimed_reads.load(Ordering::Relaxed)),
            ("unclaimed_writes", self.unclaimed_writes.load(Ordering::Relaxed)),
        ]
    }
}

/// What is left of an access while it is split at the borders of claims.
struct Parts {
    address: u64,
    left: usize,
}

/// A part of an access that lies in one claim, or in none.
struct Part {
    address: u64,
    len: usize,
}

impl Parts {
    fn next<'m, S: AddressSpace>(
        &mut self,
        map: &'m Map<S>,
    ) -> Option<(Part, Option<&'m Claim<S>>)> {
        if self.left == 0 {
            return None;
        }
        let address = self.address;
        let claim = map.find(address);
        let last = match claim {
            Some(claim) => claim.range.last(),
            None => map.next_claim_after(address).map_or(S::LAST, |next| next - 1),
        };
        let beyond_this = usize::try_from(last - address).unwrap_or(usize::MAX);
        let len = self.left.min(beyond_this.saturating_add(1));
        self.left -= len;
        // What would lie above the last address of the space wraps to the lowest, as it does
        // on the machine.
        self.address = address.wrapping_add(len as u64) & S::LAST;
        Some((Part { address, len }, claim))
    }
}
