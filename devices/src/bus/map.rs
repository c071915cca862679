//! The address map: immutable, sorted, searched by bisection.
use std::sync::Arc;

use super::device::BusDevice;
use super::error::{BusError, Claimant};
use super::range::{AddressRange, AddressSpace};

/// A device and the addresses it answers at.
pub(super) struct Claim<S> {
    pub(super) range: AddressRange<S>,
    pub(super) device: Arc<dyn BusDevice>,
}

impl<S: AddressSpace> Clone for Claim<S> {
    fn clone(&self) -> Self {
        Self { range: self.range, device: Arc::clone(&self.device) }
    }
}

impl<S: AddressSpace> Claim<S> {
    fn claimant(&self) -> Claimant {
        Claimant::new(self.range, self.device.name())
    }
}

/// Claims in ascending order, no two of which overlap.
pub(super) struct Map<S> {
    /// First address of each claim, apart from the claims so that a search touches few cache
    /// lines.
    firsts: Box<[u64]>,
    claims: Box<[Claim<S>]>,
}

impl<S: AddressSpace> Map<S> {
    pub(super) fn empty() -> Self {
        Self::of(Vec::new())
    }

    fn of(claims: Vec<Claim<S>>) -> Self {
        let firsts = claims.iter().map(|claim| claim.range.first()).collect();
        Self { firsts, claims: claims.into_boxed_slice() }
    }

    pub(super) fn claims(&self) -> &[Claim<S>] {
        &self.claims
    }

    /// The claim that an address lies in.
    pub(super) fn find(&self, address: u64) -> Option<&Claim<S>> {
        let after = self.firsts.partition_point(|first| *first <= address);
        let claim = self.claims.get(after.checked_sub(1)?)?;
        claim.range.contains(address).then_some(claim)
    }

    /// The first claimed address above one that is not claimed.
    pub(super) fn next_claim_after(&self, address: u64) -> Option<u64> {
        self.firsts.get(self.firsts.partition_point(|first| *first <= address)).copied()
    }

    /// This map with one claim more.
    pub(super) fn with(&self, new: Claim<S>) -> Result<Self, BusError> {
        let place = self.firsts.partition_point(|first| *first < new.range.first());
        // Only the neighbours can overlap, because the claims that are there do not.
        let neighbours = self.claims.iter().skip(place.saturating_sub(1)).take(2);
        if let Some(existing) = neighbours.into_iter().find(|c| c.range.overlaps(new.range)) {
            let (wanted, existing) = (new.claimant(), existing.claimant());
            return Err(BusError::Overlap { space: S::NAME, wanted, existing });
        }
        let mut claims = self.claims.to_vec();
        claims.insert(place, new);
        Ok(Self::of(claims))
    }

    /// This map without the claim of exactly this range, and that claim's device.
    pub(super) fn without(
        &self,
        range: AddressRange<S>,
    ) -> Result<(Self, Arc<dyn BusDevice>), BusError> {
        let place = self.claims.iter().position(|claim| claim.range == range).ok_or_else(|| {
            BusError::NotClaimed { space: S::NAME, first: range.first(), last: range.last() }
        })?;
        let mut claims = self.claims.to_vec();
        let retired = claims.remove(place);
        Ok((Self::of(claims), retired.device))
    }
}
