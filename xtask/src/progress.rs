//! Progress for people: one line a step on standard error, so that standard output stays free for
//! what a command was asked to print.

/// Says what is being done now.
pub fn step(what: impl std::fmt::Display) {
    eprintln!("xtask: {what}");
}

/// The last `lines` lines of `text`, indented, for showing the end of a log.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let first = all.len().saturating_sub(lines);
    all[first..].iter().flat_map(|line| ["    | ", line.trim_end_matches('\r'), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn tail_shows_the_end_and_no_more() {
        assert_eq!(tail("a\nb\r\nc\n", 2), "    | b\n    | c\n");
        assert_eq!(tail("a", 9), "    | a\n");
        assert_eq!(tail("", 9), "");
    }
}
