//! Pages that go back to the host, in runs.

use std::io;

use vm_memory::GuestAddress;

/// Bytes of a page of the balloon, whatever pages the guest and the host have (virtio 1.2, 5.5.4).
pub const PAGE_SIZE: u64 = 4096;

/// Where pages go. What it does is for the VMM, which knows how guest RAM is backed.
pub trait PageReturn: Send + Sync {
    /// Gives whole pages of RAM back to the host: they read as zeros from now on, and cost nothing until they are touched. Called by the
    /// balloon's worker; the range is in RAM, and may run over the border of two regions that adjoin.
    ///
    /// # Errors
    /// The host did not take them; they are as they were.
    fn discard(&self, gpa: GuestAddress, len: u64) -> io::Result<()>;
}

/// Calls `each` with the start and length, in bytes, of every run of adjacent pages. Sorts `numbers`; of those that
/// are there twice one counts.
pub(super) fn runs(numbers: &mut [u32], mut each: impl FnMut(GuestAddress, u64)) {
    numbers.sort_unstable();
    let mut rest = &*numbers;
    while let Some(first) = rest.first() {
        let adjoins = |pair: &&[u32]| pair[1] - pair[0] <= 1;
        let len = 1 + rest.windows(2).take_while(adjoins).count();
        let pages = u64::from(rest[len - 1] - first) + 1;
        each(GuestAddress(u64::from(*first) * PAGE_SIZE), pages * PAGE_SIZE);
        rest = &rest[len..];
    }
}

/// The whole pages in a range; `None` if there is none.
pub(super) fn whole(gpa: GuestAddress, len: u32) -> Option<(GuestAddress, u64)> {
    let start = gpa.0.checked_next_multiple_of(PAGE_SIZE)?;
    let end = gpa.0.checked_add(len.into())? / PAGE_SIZE * PAGE_SIZE;
    let len = end.checked_sub(start).filter(|len| *len > 0)?;
    Some((GuestAddress(start), len))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    fn all(mut numbers: Vec<u32>) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        runs(&mut numbers, |gpa, len| found.push((gpa.0 / PAGE_SIZE, len / PAGE_SIZE)));
        found
    }

    #[test]
    fn adjacent_pages_are_one_run_in_any_order() {
        assert_eq!(all(vec![]), []);
        assert_eq!(all(vec![7]), [(7, 1)]);
        assert_eq!(all(vec![9, 8, 7, 3, 4]), [(3, 2), (7, 3)]);
        assert_eq!(all(vec![5, 5, 6, 5]), [(5, 2)]);
        assert_eq!(all(vec![u32::MAX, 0]), [(0, 1), (u32::MAX.into(), 1)]);
    }

    #[test]
    fn parts_of_pages_stay() {
        let whole = |gpa, len| whole(GuestAddress(gpa), len).map(|(gpa, len)| (gpa.0, len));
        assert_eq!(whole(4096, 8192), Some((4096, 8192)));
        assert_eq!(whole(4097, 8192), Some((8192, 4096)));
        assert_eq!(whole(4097, 4096), None);
        assert_eq!(whole(0, 0), None);
        assert_eq!(whole(u64::MAX, 1), None);
    }
}
