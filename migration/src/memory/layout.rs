//! Where guest memory lies.

use serde::{Deserialize, Serialize};

use super::PAGE_SIZE;

/// The most regions that a layout may have.
pub const MAX_REGIONS: usize = 1024;
/// Physical addresses have at most 52 bits (Intel SDM volume 3A, section 4.1.4).
const MAX_PAGE: u64 = 1 << (52 - 12);

/// A piece of guest memory without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Where it begins: a GPA, in bytes, at a page's border.
    pub gpa: u64,
    /// Its length in pages.
    pub pages: u64,
}

/// The regions of a VM's memory, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    regions: Vec<Region>,
    pages: u64,
}

/// Why regions are no layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLayout {
    /// There are none, or too many.
    #[error("guest memory of {0} regions; there must be 1 to {MAX_REGIONS}")]
    Count(usize),
    /// One is empty, not at a page's border, or reaches beyond 52 bits of address.
    #[error("a region of {} pages at {:#x} cannot be guest memory", .0.pages, .0.gpa)]
    Region(Region),
    /// One begins before the one before it has ended.
    #[error("the region at {:#x} overlaps the one before it, or is out of order", .0.gpa)]
    Order(Region),
}

impl Layout {
    /// A layout of these regions, which are in ascending order and do not overlap.
    ///
    /// # Errors
    /// They are not, or cannot be guest memory.
    pub fn new(regions: Vec<Region>) -> Result<Self, InvalidLayout> {
        if !(1..=MAX_REGIONS).contains(&regions.len()) {
            return Err(InvalidLayout::Count(regions.len()));
        }
        let (mut end, mut pages) = (0, 0);
        for region in &regions {
            let first = region.gpa / PAGE_SIZE as u64;
            let is_aligned = region.gpa.is_multiple_of(PAGE_SIZE as u64);
            if !is_aligned || first >= MAX_PAGE || !(1..=MAX_PAGE - first).contains(&region.pages) {
                return Err(InvalidLayout::Region(*region));
            }
            if first < end {
                return Err(InvalidLayout::Order(*region));
            }
            end = first + region.pages;
            pages += region.pages;
        }
        Ok(Self { regions, pages })
    }

    /// The regions.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Its size, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_SIZE as u64
    }

    /// All pages.
    #[must_use]
    pub fn all(&self) -> Run {
        Run { first: 0, count: self.pages }
    }

    /// Some pages; `None` if there are no such pages, or `count` is zero.
    #[must_use]
    pub fn run(&self, first: u64, count: u64) -> Option<Run> {
        let end = first.checked_add(count)?;
        (count > 0 && end <= self.pages).then_some(Run { first, count })
    }
}

/// Pages that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Run {
    /// The first page.
    #[must_use]
    pub fn first(self) -> u64 {
        self.first
    }

    /// How many pages; never zero.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }

    /// The page behind the last.
    #[must_use]
    pub fn end(self) -> u64 {
        self.first + self.count
    }

    /// Where it begins in a file that holds all pages in their order, in bytes.
    #[must_use]
    pub fn offset(self) -> u64 {
        self.first * PAGE_SIZE as u64
    }

    /// Its size, in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.count * PAGE_SIZE as u64
    }

    /// What of it lies at or behind `page`.
    #[must_use]
    pub fn from(self, page: u64) -> Option<Self> {
        let first = self.first.max(page);
        (first < self.end()).then(|| Self { first, count: self.end() - first })
    }

    /// What of it lies before `page`.
    #[must_use]
    pub fn until(self, page: u64) -> Option<Self> {
        let end = self.end().min(page);
        (self.first < end).then(|| Self { first: self.first, count: end - self.first })
    }

    /// The same pages in runs of at most `count` pages.
    pub fn pieces(self, count: u64) -> impl Iterator<Item = Self> {
        let step = count.max(1);
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let now = rest?;
            rest = now.from(now.first.saturating_add(step));
            now.until(now.first.saturating_add(step))
        })
    }
}
