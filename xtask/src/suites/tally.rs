//! How suites come out.
use std::fmt;
use std::ops::AddAssign;
use std::path::PathBuf;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Did what they should.
    pub passed: u64,
    /// Did not.
    pub failed: u64,
    /// Were left out.
    pub skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Tests that were left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Skip {
    /// How many.
    pub count: u64,
    /// Why.
    pub reason: String,
}

/// What a suite comes to. Invariant: `tally.skipped` is the sum of `skips`.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its numbers.
    pub tally: Tally,
    /// What it left out.
    pub skips: Vec<Skip>,
    /// What it wrote, to be shown if it failed.
    pub log: String,
    /// What it is to show when it went well, too.
    pub shown: String,
    /// Where all of that is.
    pub log_file: Option<PathBuf>,
}

impl Outcome {
    /// Nothing to test is there yet: the suite is not mentioned.
    pub fn absent() -> Self {
        Self::default()
    }

    /// Whether there was nothing to test.
    pub fn is_absent(&self) -> bool {
        self.tally == Tally::default()
    }

    /// The suite could not be run.
    pub fn broken(log: String) -> Self {
        Self { tally: Tally { failed: 1, ..Tally::default() }, log, ..Self::default() }
    }

    /// All was left out.
    pub fn skipped(count: u64, reason: impl Into<String>) -> Self {
        let mut outcome = Self::default();
        outcome.skip(count, reason);
        outcome
    }

    /// Notes that tests were left out.
    pub fn skip(&mut self, count: u64, reason: impl Into<String>) {
        if count > 0 {
            self.tally.skipped += count;
            self.skips.push(Skip { count, reason: reason.into() });
        }
    }

    /// Adds what another run came to.
    pub fn add(&mut self, other: Self) {
        self.tally += other.tally;
        self.skips.extend(other.skips);
        if other.tally.failed > 0 || self.log.is_empty() {
            self.log.push_str(&other.log);
            self.log_file = other.log_file.or(self.log_file.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_has_the_form_that_programs_read() {
        let tally = Tally { passed: 12, failed: 0, skipped: 3 };
        assert_eq!(tally.to_string(), "12 passed, 0 failed, 3 skipped");
    }

    #[test]
    fn sums_keep_skips_and_failing_output() {
        let mut sum = Outcome::skipped(2, "no disk");
        sum.add(Outcome::broken("bad\n".to_owned()));
        sum.add(Outcome {
            tally: Tally { passed: 5, ..Tally::default() },
            log: "good".to_owned(),
            ..Outcome::default()
        });
        assert_eq!(sum.tally, Tally { passed: 5, failed: 1, skipped: 2 });
        assert_eq!(sum.skips.len(), 1);
        assert_eq!(sum.log, "bad\n");
    }
}
