//! A guest that writes its memory by a seeded program: some pages whenever a page of it is read, or its log.

use std::io;

use migration::memory::{Layout, PageSet, Run, SourceMemory};
use migration::testing::ModelMemory;
use vcpu_state::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What the guest does.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    pub seed: u64,
    /// Pages that it writes for each piece of its memory that is read.
    pub writes: u64,
    /// How many pages it writes to.
    pub hot_pages: u64,
}

/// The guest and its memory.
pub struct Guest {
    memory: ModelMemory,
    program: Program,
    random: AtomicU64,
    dirty: Vec<AtomicU64>,
    is_running: AtomicBool,
    throttle: AtomicU8,
    /// Writes that it made: its state.
    pub writes: AtomicU64,
}

impl Guest {
    pub fn new(layout: &Layout, program: Program) -> Self {
        let words = usize::try_from(layout.pages().div_ceil(64)).expect("it is small");
        let guest = Self {
            memory: ModelMemory::new(layout),
            program,
            random: AtomicU64::new(program.seed | 1),
            dirty: (0..words).map(|_| AtomicU64::new(0)).collect(),
            is_running: AtomicBool::new(true),
            throttle: AtomicU8::new(0),
            writes: AtomicU64::new(0),
        };
        guest.run(layout.pages() / 2);
        guest
    }

    pub fn set_running(&self, is_running: bool) {
        // Relaxed, as all here: the engine's thread is the only one that changes and looks, or joins who does.
        self.is_running.store(is_running, Ordering::Relaxed);
    }

    pub fn set_throttle(&self, percent: u8) {
        self.throttle.store(percent, Ordering::Relaxed);
    }

    pub fn words(&self) -> Vec<u64> {
        self.memory.words()
    }

    fn next(&self) -> u64 {
        self.random
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9)
            >> 20
    }

    /// Writes some pages, if it runs, and notes each when it is written.
    pub fn run(&self, writes: u64) {
        if !self.is_running.load(Ordering::Relaxed) {
            return;
        }
        let share = 100 - u64::from(self.throttle.load(Ordering::Relaxed));
        for _ in 0..writes * share / 100 {
            let page = self.next() % self.program.hot_pages.min(self.layout().pages());
            // Zeros now and then.
            self.memory.fill(page, self.next() % 5);
            let (word, bit) = (usize::try_from(page / 64).expect("it is small"), page % 64);
            self.dirty[word].fetch_or(1 << bit, Ordering::AcqRel);
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Goes on elsewhere, with the same memory.
    pub fn take_over(&self) {
        self.memory.fill(0, 0xF00D);
    }

    /// Takes the log.
    pub fn take_dirty(&self) -> PageSet {
        let mut set = PageSet::empty(self.layout());
        for (word, at) in self.dirty.iter().zip(0_u64..) {
            let bits = word.swap(0, Ordering::AcqRel);
            let pages = (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| at * 64 + bit);
            pages.filter_map(|page| self.layout().run(page, 1)).for_each(|run| set.insert(run));
        }
        set
    }
}

impl SourceMemory for Guest {
    fn layout(&self) -> &Layout {
        SourceMemory::layout(&self.memory)
    }

    fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        self.run(self.program.writes);
        self.memory.read(first, into)?;
        self.run(self.program.writes);
        Ok(())
    }

    fn next_data(&self, run: Run) -> io::Result<Option<Run>> {
        self.memory.next_data(run)
    }
}
