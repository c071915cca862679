//! A VM that goes, as the engine sees it: handles, and a line to the owner who has the VM.
//!
//! The engine asks [`phase`](SourceVm::phase) once, when it has decided to hand the VM over. From then on the owner knows that the VM is leaving:
//! what the guest asks for and what users ask for waits until it is known whose the VM is.

use std::cell::OnceCell;
use std::time::Duration;

use migration::engine::{SourceVm, VmError};
use migration::memory::PageSet;
use migration::wire::Phase;
use vcpu_state::sync::Arc;
use vcpu_state::throttle::{DutyCycle, Throttle};

use crate::control::{Begun, ControlError, Line};
use crate::memory::{LiveDirtyLog, RamPages};
use crate::vm::{PAUSE_DEADLINE, Still, throttle};

/// How often a second the throttle stops and starts the vCPUs, at least.
const THROTTLE_PERIOD: Duration = Duration::from_millis(10);

/// The VM that is to go.
pub(super) struct Departure {
    line: Line,
    begun: Begun,
    memory: RamPages,
    log: LiveDirtyLog,
    throttle: Option<Throttle>,
    /// Why the owner would not let it leave.
    refused: OnceCell<ControlError>,
}
