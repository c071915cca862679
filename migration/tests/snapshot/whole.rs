//! Snapshots that nothing happens to.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use migration::memory::{FileMemory, PAGE_SIZE, PageSet};
use migration::snapshot::{HostStorage, Snapshot, SnapshotError, SnapshotWriter};
use migration::testing::{ModelMemory, ModelStorage};
use proptest::prelude::*;

use crate::bed::*;

#[test]
fn a_vm_comes_back_from_the_hosts_disk_and_its_zeros_take_no_room() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("snapshot");
    let memory = ModelMemory::new(&layout());
    for page in [0, 7, 47, 48, 63] {
        memory.fill(page, page + 1);
    }
    save(&HostStorage, &target, &memory, 5).unwrap();
    assert_eq!(restore(&HostStorage, &target).unwrap(), (memory.words(), 5));
    let file = std::fs::metadata(target.join("memory")).unwrap();
    assert_eq!(file.len(), layout().bytes());
    assert!(file.blocks() * 512 < layout().bytes() / 3, "{} blocks", file.blocks());
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// So that a restore can map it.
#[test]
fn the_memory_of_a_full_snapshot_is_the_guests_as_it_lies() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("snapshot");
    let memory = ModelMemory::new(&layout());
    for page in [3, 50] {
        memory.fill(page, page + 1);
    }
    save(&HostStorage, &target, &memory, 5).unwrap();
    let snapshot = Snapshot::open(&HostStorage, &target).unwrap();
    let file = std::fs::File::open(snapshot.memory_file().unwrap()).unwrap();
    let mapped = FileMemory::new(file, layout()).unwrap();
    let back = target.with_file_name("again");
    save(&HostStorage, &back, &mapped, 6).unwrap();
    assert_eq!(restore(&HostStorage, &back).unwrap(), (memory.words(), 6));
}

#[test]
fn inspecting_tells_what_is_there() {
    let storage = ModelStorage::default();
    let memory = ModelMemory::new(&layout());
    (10..20).for_each(|page| memory.fill(page, 1));
    save(&storage, Path::new("full"), &memory, 1).unwrap();
    memory.fill(12, 0);
    memory.fill(50, 9);
    let dirty = set([12, 50]);
    let full = (Path::new("full"), "full");
    save_difference(&storage, Path::new("next"), full, (&memory, &dirty), 2).unwrap();
    let summary = Snapshot::open(&storage, Path::new("next")).unwrap().inspect().unwrap();
    assert_eq!(summary.id, id(2));
    assert_eq!(summary.bases, [(Path::new("full").to_owned(), id(1))]);
    assert_eq!(summary.regions, layout().regions());
    let page = PAGE_SIZE as u64;
    assert_eq!((summary.memory_bytes, summary.data_bytes), (64 * page, page));
    assert_eq!((summary.zeroed_bytes, summary.config_bytes), (page, CONFIG.len() as u64));
    let units: Vec<_> =
        summary.units.iter().map(|unit| (unit.name.as_str(), unit.version)).collect();
    assert_eq!(units, [("counter", 1)]);
    let full = Snapshot::open(&storage, Path::new("full")).unwrap().inspect().unwrap();
    assert_eq!((full.data_bytes, full.zeroed_bytes, full.bases), (10 * page, 0, vec![]));
}

#[test]
fn a_full_snapshot_has_every_page() {
    let storage = ModelStorage::default();
    let memory = ModelMemory::new(&layout());
    let target = Path::new("snapshot");
    let mut writer =
        SnapshotWriter::create(&storage, target, id(1), &layout(), CONFIG, None).unwrap();
    let mut pages = PageSet::all(&layout());
    pages.remove(layout().run(17, 3).unwrap());
    writer.copy(&memory, &pages).unwrap();
    let error = writer.finish(&state(1)).unwrap_err();
    assert!(matches!(error, SnapshotError::NotCopied { page: 17 }), "{error}");
    let error = Snapshot::open(&storage, target).unwrap_err();
    assert!(matches!(error, SnapshotError::NoManifest { .. }), "{error}");
}

#[test]
fn what_is_there_is_not_written_over() {
    let storage = ModelStorage::default();
    let memory = ModelMemory::new(&layout());
    memory.fill(1, 1);
    save(&storage, Path::new("snapshot"), &memory, 1).unwrap();
    let error = save(&storage, Path::new("snapshot"), &memory, 2).unwrap_err();
    assert!(matches!(error, SnapshotError::Exists { .. }), "{error}");
    let writer =
        SnapshotWriter::create(&storage, Path::new("other"), id(1), &layout(), CONFIG, None)
            .unwrap();
    let error = save(&storage, Path::new("other"), &memory, 2).unwrap_err();
    assert!(matches!(error, SnapshotError::LeftBehind { .. }), "{error}");
    drop(writer);
    save(&storage, Path::new("other"), &memory, 2).unwrap();
    assert_eq!(restore(&storage, Path::new("snapshot")).unwrap(), (memory.words(), 1));
    for name in ["x.incomplete", "/", ".."] {
        let error = save(&storage, Path::new(name), &memory, 1).unwrap_err();
        assert!(matches!(error, SnapshotError::Name { .. }), "{error}");
    }
}

/// Writes of a guest: a page and what it becomes, zeros often enough.
fn writes() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0_u64..64, 0_u64..4), 0..40)
}

fn write(memory: &ModelMemory, writes: &[(u64, u64)]) -> PageSet {
    for (page, value) in writes {
        memory.fill(*page, *value);
    }
    set(writes.iter().map(|(page, _)| *page))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The guest writes between the passes, and has stopped before the last.
    #[test]
    fn passes_while_the_guest_runs_end_in_what_it_has_in_the_end(passes in prop::collection::vec(writes(), 1..5)) {
        let storage = ModelStorage::default();
        let memory = ModelMemory::new(&layout());
        let target = Path::new("live");
        let mut writer =
            SnapshotWriter::create(&storage, target, id(1), &layout(), CONFIG, None).unwrap();
        let mut dirty = PageSet::all(&layout());
        for pass in passes {
            writer.copy(&memory, &dirty).unwrap();
            dirty = write(&memory, &pass);
        }
        writer.copy(&memory, &dirty).unwrap();
        writer.finish(&state(9)).unwrap();
        prop_assert_eq!(restore(&storage, target).unwrap(), (memory.words(), 9));
    }

    #[test]
    fn every_snapshot_of_a_chain_is_the_vm_of_its_moment(steps in prop::collection::vec(writes(), 1..6)) {
        let storage = ModelStorage::default();
        let memory = ModelMemory::new(&layout());
        let mut moments = Vec::new();
        for (number, step) in (0_u64..).zip(&steps) {
            let dirty = write(&memory, step);
            let name = number.to_string();
            if let Some(below) = number.checked_sub(1).map(|below| below.to_string()) {
                let base = (Path::new(&below), below.as_str());
                save_difference(&storage, Path::new(&name), base, (&memory, &dirty), number).unwrap();
            } else {
                save(&storage, Path::new(&name), &memory, number).unwrap();
            }
            moments.push((name, memory.words(), number));
        }
        for (name, words, number) in moments {
            prop_assert_eq!(restore(&storage, Path::new(&name)).unwrap(), (words, number));
        }
    }
}
