//! Migrations of model VMs over real sockets: whole ones, and those that are cut, fail and are cancelled at every place.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

mod bed;
mod commit;
mod disks;
mod faults;
mod guest;
mod lazy;
mod lies;
mod link;
mod local;
mod model;
mod postcopy;
mod postcopy_lies;
mod verdict;
mod whole;
mod world;
