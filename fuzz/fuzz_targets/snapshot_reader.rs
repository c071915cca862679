//! A snapshot that somebody has changed, its checksums made right again: it is opened, looked into and restored, as it
//! is and as the base of another. Nothing panics, and memory stays bounded; what is restored has the VM's layout.
#![no_main]
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use migration::format::{StateReader, StateWriter};
use migration::memory::{Layout, PageSet, Region};
use migration::snapshot::{Base, Snapshot, SnapshotId, SnapshotWriter, Storage, StoredFile};
use migration::testing::{ModelMemory, ModelStorage, reseal};

mod bounded;

/// The files have some kilobytes, and the VM six pages.
const BYTES: usize = 4 << 20;

const FILES: [&str; 7] = [
    "full/manifest",
    "next/manifest",
    "full/state",
    "full/memory",
    "full/config.json",
    "next/memory",
    "next/state",
];

fuzz_target!(|data: &[u8]| {
    let _ = StateReader::parse(data);
    let storage = saved();
    let mut patches = data.chunks_exact(4).peekable();
    for name in FILES {
        let path = Path::new(name);
        let mut bytes = read(&storage, path);
        // A patch without the mark belongs to the next file.
        while let Some(&[at, high, what, value]) = patches.next_if(|patch| patch[2] & 3 != 3) {
            let at = usize::from(u16::from_le_bytes([at, high]));
            match what & 3 {
                0 => bytes.truncate(at),
                1 => bytes.resize(at.max(bytes.len()), value),
                _ => {
                    let len = bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(at % len) {
                        *byte = value;
                    }
                }
            }
        }
        patches.next();
        if is_sealed(name) {
            reseal(&mut bytes);
        }
        storage.plant(path, &bytes);
    }
    bounded::within(BYTES, || look(&storage));
});

/// Opens, inspects and restores both.
fn look(storage: &ModelStorage) {
    for name in ["full", "next"] {
        let Ok(snapshot) = Snapshot::open(storage, Path::new(name)) else { continue };
        let _ = (snapshot.config(), snapshot.inspect());
        if let Ok(state) = snapshot.state() {
            let _ = StateReader::parse(&state);
        }
        let memory = ModelMemory::new(&layout());
        if snapshot.restore_memory(&memory).is_ok() {
            assert_eq!(snapshot.layout(), &layout());
        }
    }
}

fn is_sealed(name: &str) -> bool {
    name.ends_with("manifest") || name.ends_with("state")
}

fn layout() -> Layout {
    Layout::new(vec![Region { gpa: 0, pages: 6 }]).expect("it can be")
}

fn saved() -> ModelStorage {
    let storage = ModelStorage::default();
    let memory = ModelMemory::new(&layout());
    memory.fill(1, 1);
    memory.fill(2, 2);
    let all = PageSet::all(&layout());
    let create = |name, id, base| {
        let id = SnapshotId::new([id; 16]);
        SnapshotWriter::create(&storage, Path::new(name), id, &layout(), b"{}", base)
    };
    let mut full = create("full", 1, None).expect("nothing is there");
    full.copy(&memory, &all).expect("it has room");
    full.finish(&StateWriter::new().finish()).expect("it is whole");
    let base = Snapshot::open(&storage, Path::new("full")).expect("it is there");
    let base = Base { snapshot: &base, path: "full".to_owned() };
    let mut next = create("next", 2, Some(base)).expect("nothing is there");
    memory.fill(1, 0);
    next.copy(&memory, &all).expect("it has room");
    next.finish(&StateWriter::new().finish()).expect("it is whole");
    storage
}

fn read(storage: &ModelStorage, path: &Path) -> Vec<u8> {
    let file = storage.open(path).expect("it was saved");
    let len = file.len().expect("it has a length");
    let mut bytes = vec![0; usize::try_from(len).expect("it is small")];
    file.read_at(&mut bytes, 0).expect("it can be read");
    bytes
}
