//! Room for a VM's file descriptors: each vCPU is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a VMM needs besides its vCPUs: devices, sockets, the guest's memory; generously.
const OTHERS: u64 = 256;

/// Raises this process's soft limit of open files as far as `vcpus` need and the hard limit allows.
/// Where that is too low, creating the vCPU that does not fit fails and says so.
pub(super) fn make_room(vcpus: u32) {
    let needed = u64::from(vcpus) + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = maximum.map_or(needed, |maximum| needed.min(maximum));
        // Fails only for a value over the hard limit, which this is not.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    }
}
