//! Room for a VM's file descriptors: each vCPU has two, its thread's and its handle's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a VMM needs besides its vCPUs: devices, sockets, the guest's memory; generously.
const OTHERS: u64 = 256;

/// Raises this process's soft limit of open files as far as `vcpus` need and the hard limit allows. Where
/// that is too low, creating the vCPU that does not fit fails and says so.
///
/// Gives how many files there may be at least, of those that are needed.
pub fn make_room_for_files(vcpus: u32) -> u64 {
    let needed = 2 * u64::from(vcpus) + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(current) = current.filter(|current| *current < needed) else { return needed };
    let raised = maximum.map_or(needed, |maximum| needed.min(maximum));
    // Fails only for a value over the hard limit, which this is not.
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => raised,
        Err(_) => current,
    }
}
