//! A small VM to be saved.

use std::path::Path;

use migration::format::{StateReader, StateWriter, Unit};
use migration::memory::{DestinationMemory, Layout, PageSet, Region, SourceMemory};
use migration::snapshot::{Base, Snapshot, SnapshotError, SnapshotId, SnapshotWriter, Storage};
use migration::testing::ModelMemory;
use serde::{Deserialize, Serialize};

pub const CONFIG: &[u8] = br#"{"cpus": {"boot_vcpus": 1}}"#;

/// The state of that VM.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter(pub u64);

impl Unit for Counter {
    const KIND: &'static str = "counter";
    const VERSION: u16 = 1;
}

pub fn state(value: u64) -> Vec<u8> {
    let mut writer = StateWriter::new();
    writer.put(&Counter(value)).expect("it is the only one");
    writer.finish()
}

pub fn counter(state: &[u8]) -> u64 {
    let mut reader = StateReader::parse(state).expect("it is whole");
    let Counter(value) = reader.take().expect("it has a counter");
    reader.finish().expect("it has nothing else");
    value
}

/// Two regions with a hole between them.
pub fn layout() -> Layout {
    let region = |gpa, pages| Region { gpa, pages };
    Layout::new(vec![region(0, 48), region(4 << 30, 16)]).expect("it can be")
}

pub fn id(number: u8) -> SnapshotId {
    SnapshotId::new([number; 16])
}

pub fn set(pages: impl IntoIterator<Item = u64>) -> PageSet {
    let mut set = PageSet::empty(&layout());
    pages.into_iter().filter_map(|page| layout().run(page, 1)).for_each(|run| set.insert(run));
    set
}

/// A full snapshot.
pub fn save<S: Storage>(
    storage: &S,
    target: &Path,
    memory: &impl SourceMemory,
    value: u64,
) -> Result<(), SnapshotError> {
    let id = id(value.to_le_bytes()[0]);
    let mut writer = SnapshotWriter::create(storage, target, id, &layout(), CONFIG, None)?;
    writer.copy(memory, &PageSet::all(&layout()))?;
    writer.finish(&state(value)).map(drop)
}

/// A differential one.
pub fn save_difference<S: Storage>(
    storage: &S,
    target: &Path,
    (base, base_path): (&Path, &str),
    (memory, dirty): (&impl SourceMemory, &PageSet),
    value: u64,
) -> Result<(), SnapshotError> {
    let snapshot = Snapshot::open(storage, base)?;
    let base = Some(Base { snapshot: &snapshot, path: base_path.to_owned() });
    let id = id(value.to_le_bytes()[0]);
    let mut writer = SnapshotWriter::create(storage, target, id, &layout(), CONFIG, base)?;
    writer.copy(memory, dirty)?;
    writer.finish(&state(value)).map(drop)
}

/// What a VM that is restored from it would have.
pub fn restore<S: Storage>(storage: &S, path: &Path) -> Result<(Vec<u64>, u64), SnapshotError> {
    let snapshot = Snapshot::open(storage, path)?;
    assert_eq!(snapshot.config()?, CONFIG);
    let memory = ModelMemory::new(&layout());
    snapshot.restore_memory(&memory)?;
    // The other way: what changed, over the full one's.
    let full = snapshot.full_memory_file();
    let over = ModelMemory::new(&layout());
    Snapshot::open(storage, full.parent().expect("a directory"))?.restore_memory(&over)?;
    snapshot.restore_changes(&over)?;
    assert_eq!(over.words(), memory.words());
    assert_eq!(from_the_back(&snapshot)?.words(), memory.words());
    Ok((memory.words(), counter(&snapshot.state()?)))
}

/// What a VM would have that takes the last page first; each page comes once.
fn from_the_back<S: Storage>(snapshot: &Snapshot<'_, S>) -> Result<ModelMemory, SnapshotError> {
    let memory = ModelMemory::new(&layout());
    let mut pages = snapshot.pages()?;
    let mut left = pages.data();
    while let Some(last) = left.runs().last() {
        let page = last.end() - 1;
        let is_data = pages.read(page, |run, bytes| {
            assert!((run.first()..run.end()).all(|page| left.contains(page)), "once each");
            left.remove(run);
            memory.write(run.first(), bytes)
        });
        assert!(is_data? && !left.contains(page), "it is data, and was read");
    }
    let data = pages.data();
    for page in (0..layout().pages()).filter(|page| !data.contains(*page)) {
        assert!(!pages.read(page, |_, _| unreachable!("it is zeros"))?);
    }
    Ok(memory)
}
