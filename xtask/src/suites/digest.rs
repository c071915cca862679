//! What failed, in a few lines, to be said once more at the end: of a long output only the end may be kept.
//!
//! Rust's test harness names a failed test twice: `---- NAME stdout ----` above what it wrote, and in a list. The first
//! comes with the reason, so that is what is looked for. Output of any other form is represented by its last lines.

/// Lines that a failure is worth.
const LINES: usize = 8;
/// Failures of a suite that are told of.
const FAILURES: usize = 10;

/// The failures in the output of a suite.
pub fn digest(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().map(|line| line.trim_end_matches('\r')).collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| test_of(line).is_some());
    let mut digest = Vec::new();
    for (start, line) in starts.take(FAILURES) {
        digest.extend(test_of(line).map(str::to_owned));
        let reason = lines[start + 1..].iter().take_while(|line| !ends_a_reason(line));
        let reason = reason.filter(|line| !line.trim().is_empty()).take(LINES);
        digest.extend(reason.map(|line| format!("  {line}")));
    }
    if digest.is_empty() {
        let mut last: Vec<_> =
            lines.iter().rev().filter(|line| !line.trim().is_empty()).take(LINES).collect();
        last.reverse();
        digest.extend(last.into_iter().map(|line| format!("  {line}")));
    }
    digest
}

/// The test whose output begins after this line.
fn test_of(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

fn ends_a_reason(line: &str) -> bool {
    test_of(line).is_some() || line == "failures:" || line.starts_with("stack backtrace:")
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_failed_test_is_named_with_its_reason() {
        let log = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\nthread 'a::b' panicked at x.rs:1:2:\nleft: 1\nstack backtrace:\n   0: main\n\nfailures:\n    a::b\n";
        assert_eq!(digest(log), ["a::b", "  thread 'a::b' panicked at x.rs:1:2:", "  left: 1"]);
    }

    #[test]
    fn each_failure_has_its_own_lines() {
        let log = "---- a stdout ----\none\n---- b stdout ----\ntwo\n";
        assert_eq!(digest(log), ["a", "  one", "b", "  two"]);
    }

    #[test]
    fn other_output_is_represented_by_its_end() {
        let log = (1..=20).map(|line| format!("line {line}\n")).collect::<Vec<_>>().join("\n");
        let digest = digest(&log);
        assert_eq!(digest.first().map(String::as_str), Some("  line 13"));
        assert_eq!(digest.last().map(String::as_str), Some("  line 20"));
        assert!(super::digest("").is_empty());
    }
}
