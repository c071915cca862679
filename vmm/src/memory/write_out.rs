//! For tests: a system call that takes its data from RAM, as a worker's write to an image does.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::GuestRam;
use super::layout::PAGE_SIZE;

/// Writes a page of the first region to the file; the error's number, if it comes to one.
pub(super) fn write_out(ram: &GuestRam, page: u64, file: &File) -> Result<usize, Option<i32>> {
    let place = ram.regions().next().unwrap().host_address + page * PAGE_SIZE;
    let from = std::ptr::with_exposed_provenance(usize::try_from(place).unwrap());
    // SAFETY: a page of RAM, on which there is a handle.
    let written = unsafe { libc::write(file.as_raw_fd(), from, 4096) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error().raw_os_error())
}
