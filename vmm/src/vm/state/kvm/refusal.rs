//! Why a unit cannot be given to a VM, before the unit's name is known.

use crate::vm::state::StateError;
use crate::vm::{BuildError, KvmError};

/// It cannot.
#[derive(Debug)]
pub(super) enum Refusal {
    /// KVM refuses.
    Kvm(KvmError),
    /// It is not that of such a VM on such a host.
    Unfit(String),
}

impl Refusal {
    /// What the unit `unit` cannot be restored for.
    pub(super) fn of(self, unit: impl Into<String>) -> StateError {
        let unit = unit.into();
        match self {
            Self::Kvm(error) => StateError::Refused { unit, error },
            Self::Unfit(reason) => StateError::Unfit { unit, reason },
        }
    }
}

impl From<KvmError> for Refusal {
    fn from(error: KvmError) -> Self {
        Self::Kvm(error)
    }
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Kvm(error) => Self::Kvm(error),
            other => Self::Unfit(other.to_string()),
        }
    }
}
