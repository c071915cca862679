//! Memory of a model VM that runs while pages are missing, and a guest that touches them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::SegQueue;
use migration::engine::VmError;
use migration::engine::postcopy::{Fault, LazyMemory};
use migration::memory::{DestinationMemory, Layout, PAGE_SIZE, PageSet, Run, SourceMemory};
use migration::testing::ModelMemory;
use vcpu_state::sync::FutexWord;
use vcpu_state::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::world::World;

/// Whether the VM may run.
const EARLY: u8 = 0;
const LIVE: u8 = 1;
const FAILED: u8 = 2;

/// Memory of which pages are missing.
pub struct LazyModel {
    world: Arc<World>,
    memory: Arc<ModelMemory>,
    /// A bit a page that is missing.
    missing: Vec<AtomicU64>,
    faults: SegQueue<u64>,
    /// Advances when a page is asked for or placed, or something is said.
    bell: FutexWord,
    stage: AtomicU8,
    runs: AtomicBool,
    is_rung: AtomicBool,
    /// The user has ended the VM.
    pub is_over: AtomicBool,
    /// Nobody waits any more.
    pub is_lost: AtomicBool,
    pub is_complete: AtomicBool,
}

impl LazyModel {
    pub fn new(world: &Arc<World>, memory: &Arc<ModelMemory>, missing: &PageSet) -> Self {
        let layout = SourceMemory::layout(&**memory);
        let word = |at: u64| {
            (0..64)
                .filter(|bit| missing.contains(at * 64 + bit))
                .fold(0, |word, bit| word | 1_u64 << bit)
        };
        for run in missing.runs() {
            // What was there is old.
            (run.first()..run.end()).for_each(|page| memory.fill(page, 0xDEAD));
        }
        Self {
            world: Arc::clone(world),
            memory: Arc::clone(memory),
            missing: (0..layout.pages().div_ceil(64)).map(|at| AtomicU64::new(word(at))).collect(),
            faults: SegQueue::new(),
            bell: FutexWord::new(0),
            stage: AtomicU8::new(EARLY),
            runs: AtomicBool::new(false),
            is_rung: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            is_complete: AtomicBool::new(false),
        }
    }

    /// Whether it may be let go: what has failed is not.
    pub fn go_live(&self, runs: bool) -> bool {
        self.runs.store(runs, Ordering::Release);
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.stage.compare_exchange(EARLY, LIVE, order.0, order.1).is_ok()
    }

    /// The user ends the VM.
    pub fn end(&self) {
        if self.runs.swap(false, Ordering::AcqRel) {
            self.world.stop();
        }
        self.say(&self.is_over);
    }

    fn is_missing(&self, page: u64) -> bool {
        let word = &self.missing[usize::try_from(page / 64).expect("it is small")];
        word.load(Ordering::Acquire) >> (page % 64) & 1 == 1
    }

    /// Waits for a page; `None`: it cannot be had.
    pub fn touch(&self, page: u64) -> Option<()> {
        let mut has_asked = false;
        loop {
            let bell = self.bell.load();
            if !self.is_missing(page) {
                return Some(());
            }
            if self.is_lost.load(Ordering::Acquire) || self.is_over.load(Ordering::Acquire) {
                return None;
            }
            if !has_asked {
                self.faults.push(page);
                self.bell.advance();
                has_asked = true;
                continue;
            }
            self.bell.wait(bell, None);
        }
    }

    fn there(&self, first: u64, count: u64) {
        for page in first..first + count {
            let word = &self.missing[usize::try_from(page / 64).expect("it is small")];
            let before = word.fetch_and(!(1 << (page % 64)), Ordering::AcqRel);
            assert!(before >> (page % 64) & 1 == 1, "page {page} was there");
        }
        self.bell.advance();
    }

    pub fn say(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        self.bell.advance();
    }
}

impl LazyMemory for LazyModel {
    fn next_fault(&self, patience: Duration) -> Result<Fault, VmError> {
        let bell = self.bell.load();
        if self.is_over.load(Ordering::Acquire) {
            return Ok(Fault::Over);
        }
        if self.is_rung.swap(false, Ordering::AcqRel) {
            return Ok(Fault::Nobody);
        }
        if let Some(page) = self.faults.pop() {
            return Ok(Fault::Page(page));
        }
        self.bell.wait(bell, Some(patience));
        Ok(self.faults.pop().map_or(Fault::Nobody, Fault::Page))
    }

    fn ring(&self) {
        self.say(&self.is_rung);
    }

    fn place(&self, first: u64, pages: &[u8]) -> io::Result<()> {
        self.memory.write(first, pages)?;
        self.there(first, (pages.len() / PAGE_SIZE) as u64);
        Ok(())
    }

    fn place_zeros(&self, run: Run) -> io::Result<()> {
        self.memory.zero(run)?;
        self.there(run.first(), run.count());
        Ok(())
    }

    fn settle(&self, page: u64) -> io::Result<()> {
        assert!(!self.is_missing(page), "page {page} is settled by nothing");
        self.bell.advance();
        Ok(())
    }

    fn complete(&self) -> Result<(), VmError> {
        self.say(&self.is_complete);
        Ok(())
    }

    fn fail(&self, _: &str) {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let stage = self.stage.compare_exchange(EARLY, FAILED, order.0, order.1);
        if stage == Err(LIVE) && self.runs.swap(false, Ordering::AcqRel) {
            // The VM ends.
            self.world.stop();
        }
        self.say(&self.is_lost);
    }
}

/// A source's memory, for those who send it.
pub struct Lent<M>(pub Arc<M>);

impl<M: SourceMemory + Send> SourceMemory for Lent<M> {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }

    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(first, into)
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        self.0.next_data(run)
    }
}
