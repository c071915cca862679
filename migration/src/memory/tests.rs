//! Layouts, runs and sets of pages against models of them, and files with holes as memory.

use std::collections::BTreeSet;
use std::fs::File;

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};

use super::*;

fn layout(pages: u64) -> Layout {
    Layout::new(vec![Region { gpa: 0, pages }]).unwrap()
}

#[test]
fn regions_that_cannot_be_are_refused() {
    let (four_gib, page) = (4 << 30, PAGE_SIZE as u64);
    let region = |gpa, pages| Region { gpa, pages };
    let two = Layout::new(vec![region(0, 16), region(four_gib, 8)]).unwrap();
    assert_eq!((two.pages(), two.bytes()), (24, 24 * page));
    assert_eq!(Layout::new(vec![]), Err(InvalidLayout::Count(0)));
    let too_many = vec![region(0, 1); MAX_REGIONS + 1];
    assert_eq!(Layout::new(too_many), Err(InvalidLayout::Count(MAX_REGIONS + 1)));
    let wrong = [region(1, 1), region(0, 0), region(0, u64::MAX), region(1 << 52, 1)];
    for region in wrong {
        assert_eq!(Layout::new(vec![region]), Err(InvalidLayout::Region(region)));
    }
    for second in [region(0, 1), region(page, 1)] {
        let regions = vec![region(0, 2), second];
        assert_eq!(Layout::new(regions), Err(InvalidLayout::Order(second)));
    }
}

#[test]
fn a_run_lies_within_its_layout() {
    let layout = layout(10);
    assert!(layout.run(9, 1).is_some());
    for (first, count) in [(9, 2), (10, 1), (0, 0), (u64::MAX, 2)] {
        assert_eq!(layout.run(first, count), None);
    }
}

#[test]
fn a_run_comes_apart_into_pieces() {
    let run = layout(10).run(1, 8).unwrap();
    let pieces: Vec<_> = run.pieces(3).map(|piece| (piece.first(), piece.count())).collect();
    assert_eq!(pieces, [(1, 3), (4, 3), (7, 2)]);
}

#[test]
fn a_files_holes_are_skipped_and_made() {
    let layout = layout(64);
    let file = File::from(memfd_create("memory", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(layout.bytes()).unwrap();
    let memory = FileMemory::new(file, layout.clone()).unwrap();
    assert_eq!(memory.next_data(layout.all()).unwrap(), None);
    let ones = [1; 2 * PAGE_SIZE];
    memory.write(5, &ones).unwrap();
    memory.write(40, &ones).unwrap();
    assert_eq!(memory.next_data(layout.all()).unwrap(), layout.run(5, 2));
    assert_eq!(memory.next_data(layout.run(6, 10).unwrap()).unwrap(), layout.run(6, 1));
    assert_eq!(memory.next_data(layout.run(7, 30).unwrap()).unwrap(), None);
    memory.zero(layout.run(5, 2).unwrap()).unwrap();
    assert_eq!(memory.next_data(layout.all()).unwrap(), layout.run(40, 2));
    let mut page = [7; PAGE_SIZE];
    memory.read(5, &mut page).unwrap();
    assert!(is_zero(&page));
}

#[test]
fn pages_that_a_file_does_not_have_are_an_error() {
    let file = File::from(memfd_create("memory", MemfdFlags::CLOEXEC).unwrap());
    let short = FileMemory::new(file.try_clone().unwrap(), layout(4)).unwrap_err();
    assert_eq!(short.kind(), io::ErrorKind::InvalidInput);
    file.set_len(layout(4).bytes()).unwrap();
    let memory = FileMemory::new(file, layout(4)).unwrap();
    memory.read(4, &mut [0; PAGE_SIZE]).unwrap_err();
    memory.read(0, &mut [0; 100]).unwrap_err();
    memory.write(3, &[0; 2 * PAGE_SIZE]).unwrap_err();
}

proptest! {
    #[test]
    fn a_page_set_is_a_set(
        pages in 1_u64..300,
        changes in prop::collection::vec((any::<bool>(), 0_u64..300, 1_u64..150), 0..12),
    ) {
        let layout = layout(pages);
        let mut set = PageSet::empty(&layout);
        let mut model = BTreeSet::new();
        for (adds, first, count) in changes {
            let Some(run) = layout.run(first, count) else { continue };
            if adds {
                set.insert(run);
                model.extend(run.first()..run.end());
            } else {
                set.remove(run);
                model.retain(|page| !(run.first()..run.end()).contains(page));
            }
        }
        let listed: Vec<u64> = set.runs().flat_map(|run| run.first()..run.end()).collect();
        prop_assert_eq!(listed, model.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(set.len(), model.len() as u64);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert!((0..400).all(|page| set.contains(page) == model.contains(&page)));
        let mut runs = set.runs().map(|run| (run.first(), run.end())).collect::<Vec<_>>();
        runs.dedup_by(|later, earlier| later.0 == earlier.1);
        prop_assert_eq!(runs.len(), set.runs().count(), "runs are as long as they can be");
    }

    #[test]
    fn a_bitmap_is_added_where_its_run_lies(
        pages in 1_u64..300,
        (first, count) in (0_u64..300, 1_u64..300),
        bits in prop::collection::vec(any::<u64>(), 0..6),
        before in 0_u64..300,
    ) {
        let layout = layout(pages);
        let Some(run) = layout.run(first, count) else { return Ok(()) };
        let mut set = PageSet::empty(&layout);
        layout.run(before, 1).into_iter().for_each(|run| set.insert(run));
        set.insert_bits(run, &bits);
        for page in 0..pages + 64 {
            let place = page.checked_sub(first).filter(|place| *place < count);
            let word = place.and_then(|place| Some((bits.get(usize::try_from(place / 64).ok()?)?, place % 64)));
            let is_set = word.is_some_and(|(word, bit)| word >> bit & 1 == 1);
            prop_assert_eq!(set.contains(page), is_set || (page == before && page < pages), "page {}", page);
        }
    }

    #[test]
    fn zeros_and_data_are_split(pages in prop::collection::vec(any::<bool>(), 0..20)) {
        let bytes: Vec<u8> = pages
            .iter()
            .flat_map(|is_data| {
                let mut page = [0; PAGE_SIZE];
                page[PAGE_SIZE - 1] = u8::from(*is_data);
                page
            })
            .collect();
        let mut back = Vec::new();
        for (contents, run, first) in split_zeros(&bytes) {
            prop_assert_eq!(first, back.len() as u64);
            prop_assert!(back.last() != Some(&(contents == Contents::Data)));
            back.extend(vec![contents == Contents::Data; run.len() / PAGE_SIZE]);
        }
        prop_assert_eq!(back, pages);
    }
}
