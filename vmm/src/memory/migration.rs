//! Guest RAM as a snapshot or a migration reads and fills it: pages, counted through, by file offset.
//!
//! The regions lie in the memfd in their order and without gaps, what may be plugged later last, so that a page's number is its place in the file.
//! Reading and writing by offset rather than through the mapping keeps pages that the guest never touched out of the host's memory: a
//! hole reads as zeros and stays one, and a page that is filled need not be zeroed first.
//!
//! The file's cursor is shared by all handles on the memfd, and looking for data moves it. That harms nobody: nothing reads or
//! writes at it, and what a look finds is its result, not where the cursor is.

use std::fs::File;
use std::io;

use migration::memory::{
    DestinationMemory, FileMemory, Layout, PAGE_SIZE, Region, Run, SourceMemory, is_zero,
};
use vm_memory::{Bytes, GuestAddress};

use super::GuestRam;

/// The pages of a VM's RAM. A handle of its own: the VM need not be at hand.
#[derive(Debug)]
pub struct MigrationMemory {
    ram: GuestRam,
    file: FileMemory,
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
        let file = FileMemory::new(File::from(ram.memfd().try_clone_to_owned()?), layout)?;
        Ok(Self { ram: ram.clone(), file })
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
        self.file.read(first, into)
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        self.file.next_data(run)
    }
}

impl DestinationMemory for MigrationMemory {
    fn layout(&self) -> &Layout {
        SourceMemory::layout(self)
    }

    fn write(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        if self.ram.is_huge() {
            self.write_mapped(first, pages)
        } else {
            self.file.write(first, pages)
        }
    }

    fn zero(&self, run: Run) -> io::Result<()> {
        if !self.ram.is_huge() {
            return self.file.zero(run);
        }
        // A huge page is more than a page: where there are zeros, or nothing, they stay.
        let mut bytes = [0; PAGE_SIZE];
        for page in run.first()..run.end() {
            self.file.read(page, &mut bytes)?;
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
