//! What a process that is going to hold VMs arranges while it has only one thread: later it is dear.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::fcntl_dupfd_cloexec;

use crate::vm::make_room_for_files;

/// Arranges it for a VM of so many vCPUs. All of it costs only time where it does not work.
///
/// * **A table of files that is large enough.** Once there are threads the kernel lets a grace period pass
///   whenever the table grows, some ten milliseconds; each vCPU is two files.
/// * **One arena for the heap.** The C library (glibc) would make one for each of the first threads, eight for
///   every processor: three changes of the address space in each start of a vCPU's thread, and pages
///   that one thread uses. What they are good for, many threads that allocate at once, does not happen
///   here: a vCPU allocates nothing in a VM exit.
pub fn prepare(vcpus: u32) {
    share_one_arena();
    let files = make_room_for_files(vcpus);
    let Some(last) = i32::try_from(files).ok().and_then(|files| files.checked_sub(1)) else {
        return;
    };
    if let Ok(file) = eventfd(0, EventfdFlags::CLOEXEC) {
        // The table stays as large as this one file made it.
        drop(fcntl_dupfd_cloexec(&file, last));
    }
}

fn share_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number (mallopt(3)), and its result only says whether it did.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
