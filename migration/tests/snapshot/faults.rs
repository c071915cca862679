//! The disk is full, or everything ends, at each change that writing a snapshot makes.

use std::path::Path;

use migration::snapshot::{Snapshot, SnapshotError, Storage};
use migration::testing::{Fault, ModelMemory, ModelStorage};
use proptest::prelude::*;

use crate::bed::*;

const TARGET: &str = "vms/snapshot";
const WORK: &str = "vms/snapshot.incomplete";

/// A storage with a directory for snapshots and a base in it, and the VM that is to be saved.
fn bed() -> (ModelStorage, ModelMemory) {
    let storage = ModelStorage::default();
    storage.plant(Path::new("vms/readme"), b"snapshots");
    let memory = ModelMemory::new(&layout());
    for page in [1, 2, 40, 60] {
        memory.fill(page, 1);
    }
    save(&storage, Path::new("vms/base"), &memory, 1).expect("nothing is in the way");
    memory.fill(2, 0);
    memory.fill(41, 2);
    (storage, memory)
}

fn attempt(
    storage: &ModelStorage,
    memory: &ModelMemory,
    is_full: bool,
) -> Result<(), SnapshotError> {
    if is_full {
        return save(storage, Path::new(TARGET), memory, 2);
    }
    let base = (Path::new("vms/base"), "base");
    save_difference(storage, Path::new(TARGET), base, (memory, &set([2, 41])), 2)
}

/// Changes that an attempt makes when nothing goes wrong.
fn changes(is_full: bool) -> u64 {
    let (storage, memory) = bed();
    storage.break_at(Fault::Never);
    attempt(&storage, &memory, is_full).expect("nothing goes wrong");
    storage.changes()
}

/// Under its name there is the whole snapshot or nothing; what is incomplete is refused by its name.
fn assert_whole_or_nothing(storage: &ModelStorage, memory: &ModelMemory) -> bool {
    let error = Snapshot::open(storage, Path::new(WORK)).expect_err("it is incomplete");
    assert!(matches!(error, SnapshotError::Incomplete { .. }), "{error}");
    let is_there = storage.exists(Path::new(TARGET)).expect("it can be told");
    if is_there {
        let (words, value) = restore(storage, Path::new(TARGET)).expect("what is there is whole");
        assert!(words == memory.words() && value == 2);
    }
    is_there
}

#[test]
fn a_disk_that_is_full_at_any_change_leaves_nothing() {
    for is_full in [true, false] {
        for at in 0..changes(is_full) {
            let (storage, memory) = bed();
            storage.break_at(Fault::Full { at });
            // A change that takes no room succeeds, and the one after it fails; the last one takes room.
            attempt(&storage, &memory, is_full).expect_err("the disk is full");
            assert!(!assert_whole_or_nothing(&storage, &memory), "at {at}");
            assert!(!storage.exists(Path::new(WORK)).unwrap(), "at {at}");
            storage.break_at(Fault::Never);
            attempt(&storage, &memory, is_full).expect("there is room again");
            assert!(assert_whole_or_nothing(&storage, &memory));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_crash_at_any_change_leaves_the_whole_snapshot_or_nothing_of_its_name(
        is_full: bool,
        place in any::<prop::sample::Index>(),
        kept in prop::collection::vec(any::<bool>(), 64),
    ) {
        let (storage, memory) = bed();
        let changes = usize::try_from(changes(is_full)).unwrap();
        let at = place.index(changes + 1);
        storage.break_at(Fault::Crash { at: at as u64 });
        let result = attempt(&storage, &memory, is_full);
        prop_assert_eq!(result.is_ok(), at == changes);
        let mut kept = kept.into_iter().cycle();
        let storage = storage.after_crash(|| kept.next().unwrap_or_default());
        let is_there = assert_whole_or_nothing(&storage, &memory);
        // Who was told that it is there finds it, whatever the crash took.
        prop_assert!(is_there || result.is_err());
        let (_, base) = restore(&storage, Path::new("vms/base")).unwrap();
        prop_assert_eq!(base, 1);
    }
}
