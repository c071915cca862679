//! Guest RAM over a snapshot's file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use migration::memory::{DestinationMemory, PAGE_SIZE, PageSet, SourceMemory};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::{GuestRam, MigrationMemory};
use crate::config::{HotplugMethod, MemoryConfig};

const PAGE: u64 = PAGE_SIZE as u64;
const PAGES: u64 = 512;
const BITS: u8 = 46;

fn config(size: u64) -> MemoryConfig {
    MemoryConfig { size, ..MemoryConfig::default() }
}

/// A file without a name of which every fourth page holds something.
fn file(pages: u64) -> Arc<File> {
    let file = tempfile::tempfile().unwrap();
    file.set_len(pages * PAGE).unwrap();
    for page in (0..pages).step_by(4) {
        file.write_all_at(&contents(page), page * PAGE).unwrap();
    }
    Arc::new(file)
}

fn contents(page: u64) -> [u8; PAGE_SIZE] {
    [u8::try_from(page % 250 + 1).unwrap(); PAGE_SIZE]
}

fn read(memory: &MigrationMemory, page: u64) -> [u8; PAGE_SIZE] {
    let mut bytes = [0; PAGE_SIZE];
    memory.read(page, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_cannot_be_had_on_demand_is_said() {
    let over = |config: &MemoryConfig, pages| GuestRam::over(config, BITS, file(pages));
    let shared = MemoryConfig { shared: true, ..config(PAGES * PAGE) };
    let huge = MemoryConfig { hugepages: true, ..config(PAGES * PAGE) };
    for (config, option) in [(shared, "shared=on"), (huge, "hugepages=on")] {
        let error = over(&config, PAGES).unwrap_err().to_string();
        assert!(error.contains(option) && error.contains("memory_restore_mode=copy"), "{error}");
    }
    let error = over(&config(PAGES * PAGE), PAGES - 1).unwrap_err().to_string();
    assert_eq!(error, "a file of 2093056 bytes does not hold 2097152 bytes of guest RAM");
}

#[test]
fn what_may_be_plugged_lies_behind_the_ram_in_the_file() {
    let config = MemoryConfig {
        hotplug_method: HotplugMethod::VirtioMem,
        hotplug_size: Some(128 << 20),
        ..config(PAGES * PAGE)
    };
    let ram = GuestRam::over(&config, BITS, file(PAGES + (128 << 20) / PAGE)).unwrap();
    let (hot, _) = ram.hot_region().unwrap();
    let word: u64 = ram.memory().read_obj(hot).unwrap();
    assert_eq!(word.to_le_bytes()[..], contents(PAGES)[..8]);
    assert!(ram.memfd().is_none() && ram.shareable_memfd().is_none());
    ram.renew_range(hot, 2 << 20).unwrap();
    assert_eq!(ram.memory().read_obj::<u64>(hot).unwrap(), 0, "whatever was there");
}

#[test]
fn faulted_in_ahead_it_is_a_copy() {
    let config = MemoryConfig { prefault: true, ..config(PAGES * PAGE) };
    let file = file(PAGES);
    let ram = GuestRam::over(&config, BITS, Arc::clone(&file)).unwrap();
    let memory = MigrationMemory::new(&ram).unwrap();
    let layout = SourceMemory::layout(&memory).clone();
    assert_eq!(memory.next_data(layout.all()).unwrap(), layout.run(0, 1));
    assert_eq!(memory.next_data(layout.run(1, 3).unwrap()).unwrap(), layout.run(1, 3));
    ram.renew_range(GuestAddress(0), 4 * PAGE).unwrap();
    assert_eq!(read(&memory, 0), [0; PAGE_SIZE]);
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64),
    Fill(u64, u64),
    GiveBack(u64, u64),
    Zero(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let run = || (0..PAGES, 1..20_u64);
    prop_oneof![
        (0..PAGES * PAGE - 8).prop_map(Step::Write),
        run().prop_map(|(first, count)| Step::Fill(first, count)),
        run().prop_map(|(first, count)| Step::GiveBack(first, count)),
        run().prop_map(|(first, count)| Step::Zero(first, count)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The memory is what the file was and what was done since, the file is what it was, and what is said to be zeros is.
    #[test]
    fn the_file_is_the_beginning_and_is_never_changed(steps in prop::collection::vec(step(), 0..30)) {
        let file = file(PAGES);
        let ram = GuestRam::over(&config(PAGES * PAGE), BITS, Arc::clone(&file)).unwrap();
        let memory = MigrationMemory::new(&ram).unwrap();
        let layout = SourceMemory::layout(&memory).clone();
        let mut model: Vec<u8> = vec![0; usize::try_from(layout.bytes()).unwrap()];
        file.read_exact_at(&mut model, 0).unwrap();
        let before = model.clone();
        for step in steps {
            let place = |first: u64, count: u64| {
                let run = layout.run(first, count.min(PAGES - first)).unwrap();
                let (start, len) = (run.offset(), run.bytes());
                let range = usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap();
                (run, range)
            };
            match step {
                Step::Write(at) => {
                    ram.memory().write_obj(u64::MAX, GuestAddress(at)).unwrap();
                    model[usize::try_from(at).unwrap()..][..8].fill(0xFF);
                }
                Step::Fill(first, count) => {
                    let (run, range) = place(first, count);
                    model[range.clone()].fill(9);
                    memory.write(run.first(), &model[range]).unwrap();
                }
                Step::GiveBack(first, count) => {
                    let (run, range) = place(first, count);
                    model[range].fill(0);
                    ram.discard_range(GuestAddress(run.offset()), run.bytes()).unwrap();
                }
                Step::Zero(first, count) => {
                    let (run, range) = place(first, count);
                    model[range].fill(0);
                    memory.zero(run).unwrap();
                }
            }
        }
        let mut data = PageSet::empty(&layout);
        let mut rest = Some(layout.all());
        while let Some(found) = rest.map(|rest| memory.next_data(rest).unwrap()).unwrap_or_default() {
            data.insert(found);
            rest = layout.all().from(found.end());
        }
        for (page, expected) in (0..).zip(model.chunks(PAGE_SIZE)) {
            prop_assert_eq!(&read(&memory, page)[..], expected, "page {}", page);
            prop_assert!(data.contains(page) || expected.iter().all(|byte| *byte == 0), "page {}", page);
        }
        let mut after = before.clone();
        file.read_exact_at(&mut after, 0).unwrap();
        prop_assert!(after == before, "the file was changed");
        ram.discard().unwrap();
        prop_assert!((0..PAGES).all(|page| read(&memory, page) == [0; PAGE_SIZE]));
    }
}
