//! Results in the Test Anything Protocol, as the Linux tests print them: a plan `1..N`, then a line a test.
use super::tally::Tally;

/// Counts them. Tests of the plan that gave no result, because what ran them died, have failed.
pub fn tally(text: &str) -> Tally {
    let mut tally = Tally::default();
    let mut planned = None;
    for line in text.lines() {
        if let Some(count) = line.strip_prefix("1..") {
            planned = count.trim().parse::<u64>().ok();
        } else if line.starts_with("not ok ") {
            tally.failed += 1;
        } else if line.starts_with("ok ") {
            tally.passed += 1;
        }
    }
    let seen = tally.passed + tally.failed;
    tally.failed += planned.unwrap_or(seen + 1).saturating_sub(seen);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let tally = tally("noise\n1..3\nok 1 - a\nnot ok 2 - b\n# why\nok 3 - c # remark\n");
        assert_eq!(tally, Tally { passed: 2, failed: 1, skipped: 0 });
    }

    #[test]
    fn missing_results_are_failures() {
        assert_eq!(tally("1..3\nok 1 - a\n"), Tally { passed: 1, failed: 2, skipped: 0 });
        assert_eq!(tally(""), Tally { passed: 0, failed: 1, skipped: 0 });
    }
}
