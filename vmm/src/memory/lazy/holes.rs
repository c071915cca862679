//! The pages of watched RAM that have not come: the holes of its memfd.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The holes of a part of a file (offset and bytes), one after the other: offset and bytes of each. The cursor moves, at which nobody reads or writes.
///
/// # Errors
/// The file does not tell.
pub(super) fn each_hole(
    file: BorrowedFd<'_>,
    (start, len): (u64, u64),
    mut each: impl FnMut(u64, u64),
) -> io::Result<()> {
    let end = start + len;
    let mut at = start;
    while at < end {
        let hole = seek(file, SeekFrom::Hole(at))?;
        if hole >= end {
            break;
        }
        let data = match seek(file, SeekFrom::Data(hole)) {
            Ok(data) => data.min(end),
            // No more data up to the file's end.
            Err(Errno::NXIO) => end,
            Err(errno) => return Err(errno.into()),
        };
        each(hole, data - hole);
        at = data;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    #[test]
    fn what_holds_nothing_is_found_and_nothing_else() {
        let file = memfd_create("holes", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 10 * 4096).unwrap();
        for page in [2, 3, 6] {
            rustix::io::pwrite(&file, &[1], page * 4096).unwrap();
        }
        let of = |start: u64, len: u64| {
            let mut holes = Vec::new();
            let part = (start * 4096, len * 4096);
            each_hole(file.as_fd(), part, |at, len| holes.push((at / 4096, len / 4096))).unwrap();
            holes
        };
        assert_eq!(of(0, 10), [(0, 2), (4, 2), (7, 3)]);
        assert_eq!(of(1, 4), [(1, 1), (4, 1)]);
        assert_eq!(of(2, 2), []);
    }
}
