//! Snapshots that somebody has been at.

use std::path::Path;

use migration::memory::{Layout, PAGE_SIZE, Region};
use migration::snapshot::{MAX_CHAIN, Snapshot, SnapshotError, Storage, StoredFile};
use migration::testing::{ModelMemory, ModelStorage};

use crate::bed::*;

fn saved() -> ModelStorage {
    let storage = ModelStorage::default();
    let memory = ModelMemory::new(&layout());
    for page in [5, 6, 50] {
        memory.fill(page, 1);
    }
    save(&storage, Path::new("full"), &memory, 1).expect("it has room");
    let dirty = set([6]);
    memory.fill(6, 2);
    let base = (Path::new("full"), "full");
    let saved = save_difference(&storage, Path::new("next"), base, (&memory, &dirty), 2);
    saved.expect("it has room");
    storage
}

fn bytes(storage: &ModelStorage, path: &Path) -> Vec<u8> {
    let file = storage.open(path).expect("it is there");
    let mut bytes = vec![0; usize::try_from(file.len().expect("it has one")).expect("it fits")];
    file.read_at(&mut bytes, 0).expect("it can be read");
    bytes
}

#[test]
fn every_changed_byte_of_configuration_state_and_manifest_is_noticed() {
    let storage = saved();
    for name in ["config.json", "state", "manifest"] {
        let path = Path::new("full").join(name);
        let whole = bytes(&storage, &path);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            storage.plant(&path, &damaged);
            restore(&storage, Path::new("full")).unwrap_err();
            storage.plant(&path, &whole[..at]);
            restore(&storage, Path::new("full")).unwrap_err();
        }
        storage.plant(&path, &whole);
    }
    restore(&storage, Path::new("full")).unwrap();
}

#[test]
fn damage_to_memory_is_named_by_its_pages() {
    let storage = saved();
    let path = Path::new("full/memory");
    let mut memory = bytes(&storage, path);
    memory[6 * PAGE_SIZE + 100] ^= 1;
    storage.plant(path, &memory);
    let error = restore(&storage, Path::new("full")).unwrap_err();
    assert!(matches!(error, SnapshotError::MemoryChecksum { first: 5, last: 6, .. }), "{error}");
    storage.plant(path, &memory[1..]);
    let error = restore(&storage, Path::new("full")).unwrap_err();
    assert!(matches!(error, SnapshotError::Length { .. }), "{error}");
}

#[test]
fn a_base_that_is_another_one_is_refused() {
    let storage = saved();
    let memory = ModelMemory::new(&layout());
    // The same id, and other contents.
    storage.remove_dir(Path::new("full")).unwrap();
    save(&storage, Path::new("full"), &memory, 1).unwrap();
    let error = restore(&storage, Path::new("next")).unwrap_err();
    let changed = "its manifest was changed";
    assert!(matches!(error, SnapshotError::Base { what, .. } if what == changed), "{error}");
    storage.remove_dir(Path::new("full")).unwrap();
    save(&storage, Path::new("full"), &memory, 3).unwrap();
    let error = restore(&storage, Path::new("next")).unwrap_err();
    let another = "it is another snapshot";
    assert!(matches!(error, SnapshotError::Base { what, .. } if what == another), "{error}");
    storage.remove_dir(Path::new("full")).unwrap();
    let error = restore(&storage, Path::new("next")).unwrap_err();
    assert!(matches!(error, SnapshotError::NoManifest { path } if path == Path::new("full")));
}

#[test]
fn a_chain_has_an_end() {
    let storage = saved();
    let memory = ModelMemory::new(&layout());
    let mut below = "full".to_owned();
    for number in 1..=MAX_CHAIN {
        let name = format!("d{number}");
        let base = (Path::new(&below), below.as_str());
        let saved =
            save_difference(&storage, Path::new(&name), base, (&memory, &set([])), number as u64);
        if number == MAX_CHAIN {
            let error = saved.unwrap_err();
            assert!(matches!(error, SnapshotError::Chain { .. }), "{error}");
        } else {
            saved.unwrap();
        }
        below = name;
    }
}

#[test]
fn memory_that_lies_elsewhere_is_not_filled() {
    let storage = saved();
    let snapshot = Snapshot::open(&storage, Path::new("full")).unwrap();
    let other = Layout::new(vec![Region { gpa: 0, pages: 400 }]).unwrap();
    let memory = ModelMemory::new(&other);
    let error = snapshot.restore_memory(&memory).unwrap_err();
    assert!(matches!(error, SnapshotError::OtherLayout { .. }), "{error}");
    assert!(memory.words().iter().all(|word| *word == 0));
}
