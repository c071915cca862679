use std::collections::BTreeSet;

use proptest::prelude::*;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::*;

const PAGES: usize = 200;
/// The second region does not begin at a multiple of 64 pages, and ends with a part of one.
const REGIONS: [(GuestAddress, usize); 2] =
    [(GuestAddress(0), 70 * PAGE), (GuestAddress(1 << 20), (PAGES - 70) * PAGE - 100)];

fn memory() -> GuestMemory {
    crate::memory::anonymous(&REGIONS).unwrap()
}

/// Pages that were noted, counted through both regions.
fn taken(log: &mut WriteLog) -> BTreeSet<usize> {
    let mut pages = BTreeSet::new();
    log.take(|region, words| {
        let first = [0, 70][region];
        let set = |place: usize| words[place / 64] >> (place % 64) & 1 == 1;
        pages.extend((0..words.len() * 64).filter(|place| set(*place)).map(|place| first + place));
    });
    pages
}

#[test]
fn nothing_is_noted_without_a_log_or_from_before_it() {
    let memory = memory();
    memory.write_slice(&[1; 9000], GuestAddress(0)).unwrap();
    let mut log = WriteLog::start(&memory).unwrap();
    assert_eq!(taken(&mut log), BTreeSet::new());
    memory.write_obj(1_u32, GuestAddress(4094)).unwrap();
    drop(log);
    memory.write_obj(1_u32, GuestAddress(20_000)).unwrap();
    let mut log = WriteLog::start(&memory).unwrap();
    assert_eq!(taken(&mut log), BTreeSet::new(), "what nobody took went with its log");
    memory.write_obj(1_u32, GuestAddress(4094)).unwrap();
    assert_eq!(taken(&mut log), BTreeSet::from([0, 1]));
}

#[test]
fn there_is_one_log_at_a_time() {
    let memory = memory();
    let log = WriteLog::start(&memory).unwrap();
    let error = WriteLog::start(&memory.clone()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    drop(log);
    drop(WriteLog::start(&memory).unwrap());
}

#[test]
fn what_the_kernel_wrote_is_noted_by_its_address_and_nothing_outside() {
    let memory = memory();
    let mut log = WriteLog::start(&memory).unwrap();
    let base = |region: usize| memory.iter().nth(region).unwrap().as_ptr().addr();
    wrote(&memory, base(0) + 10 * PAGE - 1, 2);
    wrote(&memory, base(1) + 3 * PAGE, usize::MAX);
    wrote(&memory, base(0) + 20 * PAGE, 0);
    wrote(&memory, 1, 1);
    let all: BTreeSet<usize> = [9, 10].into_iter().chain(73..PAGES).collect();
    assert_eq!(taken(&mut log), all);
}

proptest! {
    #[test]
    fn what_is_noted_are_the_pages_that_were_written(
        rounds in prop::collection::vec(
            prop::collection::vec((0..PAGES * PAGE, 0..3 * PAGE), 0..6), 1..5),
    ) {
        let memory = memory();
        let mut log = WriteLog::start(&memory).unwrap();
        for writes in rounds {
            let mut model = BTreeSet::new();
            for (at, len) in writes {
                let region = usize::from(at >= 70 * PAGE);
                let first = [0, 70][region];
                let offset = at - first * PAGE;
                let len = len.min(REGIONS[region].1.saturating_sub(offset));
                let gpa = GuestAddress(REGIONS[region].0.0 + offset as u64);
                memory.write_slice(&vec![7; len], gpa).unwrap_or_else(|_| assert_eq!(len, 0));
                let pages = (0..len).map(|byte| first + (offset + byte) / PAGE);
                model.extend(pages);
            }
            for page in 0..PAGES {
                let region = usize::from(page >= 70);
                let offset = (page - [0, 70][region]) * PAGE;
                let map = memory.iter().nth(region).unwrap().get_mmap();
                prop_assert_eq!(map.bitmap().dirty_at(offset), model.contains(&page));
            }
            prop_assert_eq!(taken(&mut log), model);
        }
    }
}
