//! What a snapshot that is being written knows of each page.

use super::EXTENT_PAGES;
use super::manifest::{Extent, Stored};
use crate::memory::{Layout, PageSet, Run};

/// Which pages were copied, which of them hold data, and their checksums.
#[derive(Debug)]
pub(super) struct PageTable {
    layout: Layout,
    copied: PageSet,
    data: PageSet,
    /// CRC32C of each page that holds data.
    crcs: Vec<u32>,
}

impl PageTable {
    pub(super) fn new(layout: &Layout) -> Self {
        let pages = usize::try_from(layout.pages()).unwrap_or(usize::MAX);
        Self {
            layout: layout.clone(),
            copied: PageSet::empty(layout),
            data: PageSet::empty(layout),
            crcs: vec![0; pages],
        }
    }

    /// Pages are zeros from now on; those that were data before.
    pub(super) fn zeros(&mut self, run: Run) -> impl Iterator<Item = Run> + use<> {
        let mut before = PageSet::empty(&self.layout);
        if !self.data.is_empty() {
            let held = (run.first()..run.end()).filter(|page| self.data.contains(*page));
            held.filter_map(|page| self.layout.run(page, 1)).for_each(|page| before.insert(page));
            self.data.remove(run);
        }
        self.copied.insert(run);
        before.runs().collect::<Vec<_>>().into_iter()
    }

    /// Pages hold from now on what has these checksums.
    pub(super) fn data(&mut self, run: Run, crcs: impl Iterator<Item = u32>) {
        self.copied.insert(run);
        self.data.insert(run);
        let first = usize::try_from(run.first()).unwrap_or(usize::MAX);
        for (place, crc) in self.crcs.iter_mut().skip(first).zip(crcs) {
            *place = crc;
        }
    }

    /// The first page that was never copied.
    pub(super) fn first_not_copied(&self) -> Option<u64> {
        match self.copied.runs().next() {
            Some(run) if run.first() == 0 => (run.end() < self.layout.pages()).then_some(run.end()),
            _ => Some(0),
        }
    }

    /// The extents of a manifest: data, and where there is a base, zeros.
    pub(super) fn extents(&self, has_base: bool) -> Vec<Extent> {
        let mut extents = Vec::new();
        for run in self.data.runs().flat_map(|run| run.pieces(EXTENT_PAGES)) {
            let first = usize::try_from(run.first()).unwrap_or(usize::MAX);
            let count = usize::try_from(run.count()).unwrap_or(usize::MAX);
            let crcs = self.crcs.iter().skip(first).take(count);
            let contents = Stored::Data { crc: crc_of_pages(crcs.copied()) };
            extents.push(Extent { first: run.first(), count: run.count(), contents });
        }
        if has_base {
            let mut zeros = self.copied.clone();
            self.data.runs().for_each(|run| zeros.remove(run));
            let zeros = zeros.runs().map(|run| (run.first(), run.count()));
            extents.extend(zeros.map(|(first, count)| Extent {
                first,
                count,
                contents: Stored::Zeros,
            }));
            extents.sort_unstable_by_key(|extent| extent.first);
        }
        extents
    }
}

/// The checksum of an extent by those of its pages.
pub(super) fn crc_of_pages(crcs: impl Iterator<Item = u32>) -> u32 {
    crcs.fold(0, |all, crc| crc32c::crc32c_append(all, &crc.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Region;

    #[test]
    fn long_runs_are_extents_that_are_checked_as_one_each() {
        let layout = Layout::new(vec![Region { gpa: 0, pages: 2 * EXTENT_PAGES }]).unwrap();
        let mut table = PageTable::new(&layout);
        assert_eq!(table.first_not_copied(), Some(0));
        let run = layout.run(0, EXTENT_PAGES + 3).unwrap();
        table.data(run, (0..).take(usize::try_from(run.count()).unwrap()));
        let before: Vec<_> = table.zeros(layout.run(EXTENT_PAGES + 1, 7).unwrap()).collect();
        assert_eq!(before, [layout.run(EXTENT_PAGES + 1, 2).unwrap()]);
        assert_eq!(table.first_not_copied(), Some(EXTENT_PAGES + 8));
        let shape = |extents: Vec<Extent>| {
            let shape = |extent: &Extent| {
                (extent.first, extent.count, matches!(extent.contents, Stored::Zeros))
            };
            extents.iter().map(shape).collect::<Vec<_>>()
        };
        let data = [(0, EXTENT_PAGES, false), (EXTENT_PAGES, 1, false)];
        assert_eq!(shape(table.extents(false)), data);
        let all = [&data[..], &[(EXTENT_PAGES + 1, 7, true)]].concat();
        assert_eq!(shape(table.extents(true)), all);
    }
}
