//! How long, from which seed; and what has been done so far. `cargo xtask hammer` says it through the
//! environment.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the hammer falls when it is a test among others.
const BOUNDED: Duration = Duration::from_secs(25);
/// Time between two lines that say how far it is.
const LINES: Duration = Duration::from_secs(10);

/// How many things were done.
pub static DONE: Done = Done::new();

/// Counters of a whole run.
pub struct Done {
    pub programs: AtomicU64,
    pub steps: AtomicU64,
    /// Pauses of whatever holder, each with its release.
    pub cycles: AtomicU64,
    pub vms: AtomicU64,
    pub replaced: AtomicU64,
    pub nmis: AtomicU64,
}

impl Done {
    const fn new() -> Self {
        Self {
            programs: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            cycles: AtomicU64::new(0),
            vms: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            nmis: AtomicU64::new(0),
        }
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(f, "{} programs, {} steps, ", get(&self.programs), get(&self.steps))?;
        write!(f, "{} pause cycles, {} VMs, ", get(&self.cycles), get(&self.vms))?;
        write!(f, "{} vCPU threads replaced, {} NMIs", get(&self.replaced), get(&self.nmis))
    }
}

/// One more of these.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What was asked for.
pub struct Plan {
    pub seed: u64,
    time: Duration,
    programs: Option<u64>,
    begun: Instant,
    said: Instant,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

impl Plan {
    pub fn from_environment() -> Self {
        let now = Instant::now();
        Self {
            // Any number that is another each time.
            seed: number("STILLPOINT_HAMMER_SEED")
                .unwrap_or_else(|| RandomState::new().hash_one(std::process::id()) >> 32),
            time: number("STILLPOINT_HAMMER_SECONDS").map_or(BOUNDED, Duration::from_secs),
            programs: number("STILLPOINT_HAMMER_PROGRAMS"),
            begun: now,
            said: now,
        }
    }

    /// Whether there is another program to run, when so many have been.
    pub fn goes_on(&self, programs: u64) -> bool {
        match self.programs {
            Some(limit) => programs < limit,
            None => self.begun.elapsed() < self.time,
        }
    }

    /// Says now and then how far it is.
    pub fn tell(&mut self, seed: u64) {
        if self.said.elapsed() >= LINES {
            self.said = Instant::now();
            eprintln!("hammer: {:4} s: {DONE}; at seed {seed}", self.begun.elapsed().as_secs());
        }
    }

    pub fn summary(&self) -> String {
        format!("hammer: {DONE} in {:.1} s, none failed", self.begun.elapsed().as_secs_f32())
    }
}

/// How somebody runs this very program again.
pub fn again(seed: u64) -> String {
    format!("cargo xtask hammer --seed {seed} --programs 1")
}
