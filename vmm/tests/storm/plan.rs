//! How long, and what has been done so far. The environment says it: `STILLPOINT_STORM_CYCLES`, `STILLPOINT_STORM_SECONDS`.

use std::time::{Duration, Instant};

use super::Storm;

/// How long the storm lasts when it is a test among others.
const BOUNDED: Duration = Duration::from_secs(20);
/// Time between two lines that say how far it is.
const LINES: Duration = Duration::from_secs(10);

/// What was asked for.
pub struct Plan {
    begun: Instant,
    told: Instant,
    seconds: Option<Duration>,
    cycles: Option<u64>,
}

impl Plan {
    pub fn from_environment() -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
        let now = Instant::now();
        let seconds = number("STILLPOINT_STORM_SECONDS").map(Duration::from_secs);
        let cycles = number("STILLPOINT_STORM_CYCLES");
        Self { begun: now, told: now, seconds, cycles }
    }

    /// Until the pause cycles that were asked for are done, or the time is over, whichever is first.
    pub fn goes_on(&self, cycles: u64) -> bool {
        let limit = self.seconds.or_else(|| self.cycles.is_none().then_some(BOUNDED));
        limit.is_none_or(|limit| self.begun.elapsed() < limit)
            && self.cycles.is_none_or(|wanted| cycles < wanted)
    }

    pub fn tell(&mut self, storm: &Storm) {
        if self.told.elapsed() >= LINES {
            self.told = Instant::now();
            eprintln!("storm: after {:?}: {storm}", self.begun.elapsed());
        }
    }
}
