//! Why a request was refused or failed.

use std::collections::BTreeSet;

use migration::snapshot::SnapshotError;

use super::VmState;
use crate::vm::{DirtyLogError, StillError};

/// Why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no VM.
    #[error("no VM has been created: send vm.create first")]
    NotCreated,
    /// There is one already.
    #[error("a VM has been created already: send vm.delete first")]
    AlreadyCreated,
    /// The VM's phase does not allow this.
    #[error("cannot {action} a VM that is {state:?}; it must be {needed}")]
    WrongPhase {
        /// What was asked for, a verb.
        action: &'static str,
        /// The phase it is in.
        state: VmState,
        /// The phases it would have to be in, for people.
        needed: &'static str,
    },
    /// Another device has that id.
    #[error("a device with the id {0:?} exists already; choose another or leave it out")]
    IdTaken(String),
    /// A device that the guest has been asked to let go of has that id.
    #[error("the device {0:?} is leaving: its id is free when the guest has ejected it")]
    IdLeaving(String),
    /// No device has that id.
    #[error("no device has the id {id:?}; {}", those(present))]
    NoSuchDevice {
        /// As it was asked for.
        id: String,
        /// Those that there are.
        present: Vec<String>,
    },
    /// The guest has not let go of vCPUs that it was asked for.
    #[error("{0}")]
    UnplugPending(String),
    /// A transfer of the VM is under way.
    #[error("{0}")]
    Busy(String),
    /// What was under way was ended before it was done.
    #[error("{0}")]
    Cancelled(String),
    /// The VM is another VMM's.
    #[error("the VM has been migrated to {0}")]
    Moved(String),
    /// Nobody here can know whose the VM is.
    #[error(
        "the VM is in doubt: its migration broke off when it was being handed over; see whether it runs at the destination, \
         then resolve with keep (it does not) or drop (it does)"
    )]
    InDoubt,
    /// There is nothing to resolve.
    #[error("no migration is in doubt")]
    NotInDoubt,
    /// There is nothing to cancel, or to tell of.
    #[error("nothing of this kind is under way")]
    NoTransfer,
    /// It is too late.
    #[error("it is too late: the VM is being handed over, or the snapshot is whole")]
    TooLate,
    /// The configuration makes no VM.
    #[error("{0}")]
    InvalidConfig(String),
    /// It was tried and failed; the VM is as it was before.
    #[error("{0}")]
    Failed(String),
    /// The VMM is going away.
    #[error("the VMM is shutting down")]
    Stopping,
}

impl ControlError {
    /// [`Self::NoSuchDevice`].
    #[must_use]
    pub fn no_device(id: &str, present: BTreeSet<String>) -> Self {
        Self::NoSuchDevice { id: id.to_owned(), present: present.into_iter().collect() }
    }
}

macro_rules! failed_from {
    ($($error:ty),*) => {$(
        impl From<$error> for ControlError {
            fn from(error: $error) -> Self {
                Self::Failed(error.to_string())
            }
        }
    )*};
}
failed_from!(SnapshotError, StillError, DirtyLogError);

fn those(present: &[String]) -> String {
    if present.is_empty() { "there is none".to_owned() } else { present.join(", ") }
}
