//! Guest RAM as a snapshot or a migration reads and fills it: pages, counted through, by file offset.
//!
//! The regions lie in the memfd in their order and without gaps, what may be plugged later last, so that a page's number is its place in the file.
//! Reading and writing by offset rather than through the mapping keeps pages that the guest never touched out of the host's memory: a
//! hole reads as zeros and stays one, and a page that is filled need not be zeroed first.
//!
//! RAM over a snapshot's file is read and written through the mapping, where what was written since is. There the data are the file's, and the
//! pages that are this process's own.
//!
//! RAM of which pages are still to come is read through the mapping until all are there: reading brings them.
//!
//! The file's cursor is shared by all handles on the memfd, and looking for data moves it. That harms nobody: nothing reads or
//! writes at it, and what a look finds is its result, not where the cursor is.

use std::io;

use migration::memory::{
    DestinationMemory, FileMemory, Layout, PAGE_SIZE, Region, Run, SourceMemory, is_zero,
};
use vm_memory::{Bytes, GuestAddress};

use super::GuestRam;
use super::pagemap::PageMap;
use super::ram::Backing;

/// The pages of a VM's RAM. A handle of its own: the VM need not be at hand.
#[derive(Debug)]
pub struct MigrationMemory {
    ram: GuestRam,
    /// The file behind it.
    file: FileMemory,
    /// Where the file has not everything.
    own: Option<PageMap>,
}

impl MigrationMemory {
    /// The pages of this RAM.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn new(ram: &GuestRam) -> io::Result<Self> {
        let regions = ram.regions();
        let regions = regions
            .map(|region| Region { gpa: region.gpa.0, pages: region.size / PAGE_SIZE as u64 });
        let layout = Layout::new(regions.collect()).map_err(io::Error::other)?;
        let file = FileMemory::new(ram.backing().file().try_clone()?, layout)?;
        let own = match ram.backing() {
            Backing::Memfd(_) => None,
            Backing::Snapshot(_) => Some(PageMap::open()?),
        };
        Ok(Self { ram: ram.clone(), file, own })
    }

    /// Whether the file behind it has nothing but holes there.
    pub(crate) fn is_hole(&self, run: Run) -> io::Result<bool> {
        Ok(self.file.next_data(run)?.is_none())
    }

    /// Whether pages are written through the mapping.
    fn is_mapped(&self) -> bool {
        self.own.is_some() || self.ram.is_huge()
    }

    /// The first pages of a run that are this process's own.
    fn first_own(&self, own: &PageMap, run: Run) -> io::Result<Option<Run>> {
        let mut start = 0;
        for region in self.ram.regions() {
            let pages = region.size / PAGE_SIZE as u64;
            if let Some(part) = run.from(start).and_then(|run| run.until(start + pages)) {
                let address = region.host_address + (part.first() - start) * PAGE_SIZE as u64;
                if let Some((skipped, count)) = own.first_own(address, part.count())? {
                    let first = part.first() + skipped;
                    return Ok(part.from(first).and_then(|found| found.until(first + count)));
                }
            }
            start += pages;
        }
        Ok(None)
    }

    /// Writes through the mapping.
    fn write_mapped(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        for (page, bytes) in (first..).zip(pages.chunks(PAGE_SIZE)) {
            let gpa = self.gpa(page).filter(|_| bytes.len() == PAGE_SIZE);
            let gpa = gpa.ok_or_else(no_such_pages)?;
            self.ram.memory().write_slice(bytes, gpa).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Where the guest sees a page.
    fn gpa(&self, page: u64) -> Option<GuestAddress> {
        let mut place = page;
        for region in SourceMemory::layout(self).regions() {
            match place.checked_sub(region.pages) {
                None => return Some(GuestAddress(region.gpa + place * PAGE_SIZE as u64)),
                Some(rest) => place = rest,
            }
        }
        None
    }
}

impl SourceMemory for MigrationMemory {
    fn layout(&self) -> &Layout {
        SourceMemory::layout(&self.file)
    }

    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        if self.own.is_none() && self.ram.missing_bytes() == 0 {
            return self.file.read(first, into);
        }
        for (page, bytes) in (first..).zip(into.chunks_mut(PAGE_SIZE)) {
            let gpa = self.gpa(page).filter(|_| bytes.len() == PAGE_SIZE);
            let gpa = gpa.ok_or_else(no_such_pages)?;
            self.ram.memory().read_slice(bytes, gpa).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        if self.ram.missing_bytes() > 0 {
            // What the file has is not all.
            return Ok(Some(run));
        }
        let of_file = self.file.next_data(run)?;
        let Some(own) = &self.own else { return Ok(of_file) };
        let before = of_file.map_or(Some(run), |data| run.until(data.first()));
        let own = before.map(|before| self.first_own(own, before)).transpose()?.flatten();
        Ok(own.or(of_file))
    }
}

impl DestinationMemory for MigrationMemory {
    fn layout(&self) -> &Layout {
        SourceMemory::layout(self)
    }

    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        if self.is_mapped() {
            self.write_mapped(first, pages)
        } else {
            self.file.write(first, pages)
        }
    }

    fn zero(&self, run: Run) -> io::Result<()> {
        if !self.is_mapped() {
            return self.file.zero(run);
        }
        // What is zeros stays as it is: a huge page is more than a page, and a page of a file need not be copied.
        let mut bytes = [0; PAGE_SIZE];
        for page in run.first()..run.end() {
            SourceMemory::read(self, page, &mut bytes)?;
            if !is_zero(&bytes) {
                self.write_mapped(page, &[0; PAGE_SIZE])?;
            }
        }
        Ok(())
    }
}

fn no_such_pages() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no such pages")
}
