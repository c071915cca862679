//! The counts in what Rust's test harness prints.
use super::log::Ran;
use super::tally::Outcome;

/// Numbers of one `test result:` line, and of all of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests marked `#[ignore]`.
    pub ignored: u64,
    /// Tests that a filter left out.
    pub filtered_out: u64,
}

/// Adds up all `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; …` lines.
pub fn counts(text: &str) -> Counts {
    let mut sum = Counts::default();
    for line in text.lines() {
        let Some((_, result)) = line.split_once("test result: ") else { continue };
        // The verdict ends at the first full stop.
        let Some((_, numbers)) = result.split_once(". ") else { continue };
        for part in numbers.split(';') {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => sum.passed += number,
                "failed" => sum.failed += number,
                "ignored" => sum.ignored += number,
                "filtered out" => sum.filtered_out += number,
                _ => {}
            }
        }
    }
    sum
}

/// What a `cargo test` came to. `filter_reason` says why tests were filtered out.
pub fn outcome(ran: Ran, filter_reason: &str) -> Outcome {
    let counts = counts(&ran.text);
    let mut outcome = Outcome { log: ran.text, log_file: Some(ran.file), ..Outcome::default() };
    outcome.tally.passed = counts.passed;
    // A program that does not build, or dies, prints no result: it is a failure nevertheless.
    outcome.tally.failed = if ran.success { counts.failed } else { counts.failed.max(1) };
    outcome.skip(counts.ignored, "marked #[ignore]");
    outcome.skip(counts.filtered_out, filter_reason);
    outcome
}

/// How many tests `-- --list` names.
pub fn listed(text: &str) -> u64 {
    text.lines().filter(|line| line.ends_with(": test")).map(|_| 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
running 2 tests
test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s
noise test result: nothing
test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    fn ran(success: bool, text: &str) -> Ran {
        Ran { success, code: None, text: text.to_owned(), file: "log".into() }
    }

    #[test]
    fn results_are_added_up() {
        assert_eq!(counts(TEXT), Counts { passed: 6, failed: 3, ignored: 1, filtered_out: 2 });
    }

    #[test]
    fn a_crash_counts_as_one_failure() {
        let outcome = outcome(ran(false, "error: could not compile"), "");
        assert_eq!(outcome.tally.failed, 1);
    }

    #[test]
    fn skips_have_reasons() {
        let outcome = outcome(ran(true, TEXT), "no /dev/kvm");
        assert_eq!(outcome.tally.skipped, 3);
        assert_eq!(outcome.skips[1].reason, "no /dev/kvm");
    }

    #[test]
    fn listed_tests_are_counted() {
        assert_eq!(listed("a::b: test\nc: test\nd: benchmark\n\n2 tests, 1 benchmark\n"), 2);
    }
}
