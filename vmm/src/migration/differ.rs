//! Which pages of a VM differ from those of a snapshot.
//!
//! The snapshot is not brought back into memory: it is read as a restore reads it, the oldest of its chain first, and each page that
//! comes is compared with the VM's. The last one that comes for a page decides.

use std::io;

use migration::memory::{
    DestinationMemory, Layout, PAGE_SIZE, PageSet, Run, SourceMemory, is_zero,
};
use migration::snapshot::{Snapshot, SnapshotError, Storage};
use vcpu_state::sync::atomic::{AtomicU64, Ordering};

/// The pages that are another than in this snapshot.
///
/// # Errors
/// The snapshot is damaged or of a VM with another layout, or the memory cannot be read.
pub(super) fn differing<S: Storage, M: SourceMemory>(
    memory: &M,
    base: &Snapshot<'_, S>,
) -> Result<PageSet, SnapshotError> {
    let words = memory.layout().pages().div_ceil(64);
    let comparison = Comparison { memory, found: (0..words).map(|_| AtomicU64::new(0)).collect() };
    // What no snapshot of the chain lists is zeros.
    comparison.against_zeros(memory.layout().all()).map_err(|source| SnapshotError::Memory {
        action: "look into",
        page: 0,
        source,
    })?;
    base.restore_memory(&comparison)?;
    let mut differ = PageSet::empty(memory.layout());
    for run in memory.layout().all().pieces(1).filter(|page| comparison.differs(page.first())) {
        differ.insert(run);
    }
    Ok(differ)
}

struct Comparison<'m, M> {
    memory: &'m M,
    /// A bit a page.
    found: Vec<AtomicU64>,
}

impl<M: SourceMemory> Comparison<'_, M> {
    fn word(&self, page: u64) -> Option<(&AtomicU64, u64)> {
        let word = usize::try_from(page / 64).ok().and_then(|at| self.found.get(at));
        word.map(|word| (word, 1 << (page % 64)))
    }

    fn note(&self, page: u64, differs: bool) {
        // Relaxed, here and below: the threads that read the snapshot have been joined when this is asked.
        let Some((word, bit)) = self.word(page) else { return };
        if differs {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn differs(&self, page: u64) -> bool {
        self.word(page).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn against_zeros(&self, run: Run) -> io::Result<()> {
        let mut rest = Some(run);
        let mut page = [0; PAGE_SIZE];
        while let Some(left) = rest {
            let data = self.memory.next_data(left)?;
            let zeros = left.first()..data.map_or(left.end(), Run::first);
            zeros.for_each(|page| self.note(page, false));
            for number in data.into_iter().flat_map(|data| data.first()..data.end()) {
                self.memory.read(number, &mut page)?;
                self.note(number, !is_zero(&page));
            }
            rest = data.and_then(|data| left.from(data.end()));
        }
        Ok(())
    }
}

impl<M: SourceMemory> DestinationMemory for Comparison<'_, M> {
    fn layout(&self) -> &Layout {
        self.memory.layout()
    }

    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        let mut now = vec![0; pages.len()];
        self.memory.read(first, &mut now)?;
        let pairs = now.chunks(PAGE_SIZE).zip(pages.chunks(PAGE_SIZE));
        for (number, (now, then)) in (first..).zip(pairs) {
            self.note(number, now != then);
        }
        Ok(())
    }

    fn zero(&self, run: Run) -> io::Result<()> {
        self.against_zeros(run)
    }
}

#[cfg(test)]
mod tests {
    use migration::memory::{FileMemory, Region};
    use migration::snapshot::{Base, HostStorage, SnapshotId, SnapshotWriter};

    use super::*;

    fn memory(layout: &Layout) -> FileMemory {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = std::fs::File::from(rustix::fs::memfd_create("memory", flags).unwrap());
        file.set_len(layout.bytes()).unwrap();
        FileMemory::new(file, layout.clone()).unwrap()
    }

    #[test]
    fn what_differs_from_a_chain_is_found_whatever_it_was_and_became() {
        let directory = tempfile::tempdir().unwrap();
        let storage = HostStorage;
        let layout = Layout::new(vec![Region { gpa: 0, pages: 600 }]).unwrap();
        let memory = memory(&layout);
        let fill = |page: u64, byte: u8| memory.write(page, &[byte; PAGE_SIZE]).unwrap();
        let zero = |page: u64| memory.zero(layout.run(page, 1).unwrap()).unwrap();
        (0..10).for_each(|page| fill(page, 1));
        fill(500, 1);
        let id = || SnapshotId::random().unwrap();
        let save = |name: &str, base: Option<Base<'_, '_, HostStorage>>, pages: &PageSet| {
            let path = directory.path().join(name);
            let writer = SnapshotWriter::create(&storage, &path, id(), &layout, b"{}", base);
            let mut writer = writer.unwrap();
            writer.copy(&memory, pages).unwrap();
            let state = migration::format::StateWriter::new().finish();
            writer.finish(&state).unwrap();
            Snapshot::open(&storage, &path).unwrap()
        };
        let pages =
            |set: &PageSet| set.runs().flat_map(|run| run.first()..run.end()).collect::<Vec<_>>();
        let full = save("full", None, &PageSet::all(&layout));
        assert!(differing(&memory, &full).unwrap().is_empty());
        fill(2, 2);
        zero(3);
        fill(50, 1);
        let changed = differing(&memory, &full).unwrap();
        assert_eq!(pages(&changed), [2, 3, 50]);
        let base = Base { snapshot: &full, path: "full".to_owned() };
        let second = save("second", Some(base), &changed);
        assert!(differing(&memory, &second).unwrap().is_empty());
        // Back to what the first one had, and on to something new.
        fill(2, 1);
        fill(3, 9);
        zero(500);
        fill(599, 1);
        // A page of zeros that takes room is one of zeros.
        fill(50, 0);
        assert_eq!(pages(&differing(&memory, &second).unwrap()), [2, 3, 50, 500, 599]);
        assert_eq!(pages(&differing(&memory, &full).unwrap()), [3, 500, 599]);
    }
}
