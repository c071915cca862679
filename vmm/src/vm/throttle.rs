//! Throttling the vCPUs of a VM: `vcpu_state`'s throttle, on a thread that is scheduled as those that serve
//! requests are.

use std::io;
use std::ops::Range;

use vcpu_state::Group;
use vcpu_state::sync::Arc;
use vcpu_state::throttle::{DutyCycle, Pace, Throttle};

use crate::sched;

/// Time as it passes, on a thread that gets a processor beside vCPUs that spin.
struct Prompt;

impl Pace for Prompt {
    fn begin(&mut self) {
        sched::run_promptly();
        sched::wake_in_time();
    }
}

/// Throttles these vCPUs until what it returns is dropped.
///
/// # Errors
/// The host has no thread left.
pub fn throttle(group: &Arc<Group>, vcpus: Range<usize>, duty: DutyCycle) -> io::Result<Throttle> {
    Throttle::start(group, vcpus, duty, Prompt)
}
