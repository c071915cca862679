//! Snapshots: on the host's file system, and on one that fails and crashes at every change.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

mod bed;
mod damage;
mod faults;
mod whole;
