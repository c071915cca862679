//! Why state cannot be saved or restored.

use migration::format::FormatError;

use crate::vm::KvmError;

/// State could not be saved or restored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The VM is not held.
    #[error("a VM that runs cannot be given another's state")]
    Running,
    /// A unit.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// KVM does not take a unit, or does not tell what is in it.
    #[error("unit {unit}: {error}")]
    Refused {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        error: KvmError,
    },
    /// The thread that carries registers of the bus to KVM does not answer.
    #[error("the PCI bus does not come to rest")]
    Unsettled,
    /// A part of the state does not fit this VM.
    #[error("unit {unit}: {reason}")]
    Unfit {
        /// The unit.
        unit: String,
        /// What does not fit.
        reason: String,
    },
}
