//! What CPUID told the guest: a restored one is told the same, if this host can keep it.

use kvm_bindings::kvm_cpuid_entry2;
use migration::format::Unit;
use serde::{Deserialize, Serialize};

use super::mirror::{Mirror, mirror};
use super::refusal::Refusal;
use crate::cpuid::{self, Template};

mirror! {
    /// A leaf.
    Leaf of kvm_cpuid_entry2 { function: u32, index: u32, flags: u32, eax: u32, ebx: u32, ecx: u32, edx: u32 }
}

/// All that does not differ from vCPU to vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cpuid {
    leaves: Vec<Leaf>,
}

impl Unit for Cpuid {
    const KIND: &'static str = "cpuid";
    const VERSION: u16 = 1;
}

impl Cpuid {
    /// What a VM's vCPUs were told.
    pub(super) fn of(template: &Template) -> Self {
        Self { leaves: template.entries().iter().map(Leaf::of).collect() }
    }

    /// What vCPUs here have to be told instead of `template`, if that is something else.
    ///
    /// # Errors
    /// This host cannot keep it.
    pub(super) fn instead_of(&self, template: &Template) -> Result<Option<Template>, Refusal> {
        let told: Vec<_> = self.leaves.iter().map(Mirror::kvm).collect();
        let other = template.with_entries(told);
        let other = other.map_err(|error| Refusal::Unfit(error.to_string()))?;
        if Self::of(&other) == Self::of(template) {
            return Ok(None);
        }
        cpuid::check_offer(template.entries(), other.entries()).map_err(Refusal::Unfit)?;
        Ok(Some(other))
    }
}
