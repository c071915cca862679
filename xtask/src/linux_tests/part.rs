//! Sharing the tests out among several runs of them, side by side.
//!
//! Heaviest first, each test goes to the run with the least to do so far. Whoever shares the same tests out among as many comes to the
//! same parts, so each run finds its own by itself.
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::Test;

/// One run of several; displays as it parses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which, from 0.
    pub index: usize,
    /// Of how many, at least 1.
    pub of: usize,
}

impl Part {
    /// Its tests, in their order.
    pub fn of(self, tests: Vec<&Test>) -> Vec<&Test> {
        let weights: Vec<_> = tests.iter().map(|test| test.weight).collect();
        let runs = share_out(&weights, self.of);
        tests
            .into_iter()
            .zip(runs)
            .filter(|(_, run)| *run == self.index)
            .map(|(test, _)| test)
            .collect()
    }
}

/// The run of each test.
fn share_out(weights: &[u32], runs: usize) -> Vec<usize> {
    let mut heaviest_first: Vec<_> = (0..weights.len()).collect();
    heaviest_first.sort_by_key(|test| Reverse(weights[*test]));
    let mut loads = vec![0; runs];
    let mut run_of = vec![0; weights.len()];
    for test in heaviest_first {
        let least = (0..runs).min_by_key(|run| loads[*run]).unwrap_or(0);
        if let Some(load) = loads.get_mut(least) {
            *load += weights[test];
        }
        run_of[test] = least;
    }
    run_of
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no part; expected one such as 0/2");
        let (index, of) = text.split_once('/').ok_or_else(wrong)?;
        let part = Self {
            index: index.parse().map_err(|_| wrong())?,
            of: of.parse().map_err(|_| wrong())?,
        };
        if part.index < part.of { Ok(part) } else { Err(wrong()) }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chosen;
    use super::*;

    #[test]
    fn every_test_is_in_one_part_and_no_part_has_much_more_than_another() {
        let all = chosen(None);
        let parts = [0, 1].map(|index| Part { index, of: 2 }.of(chosen(None)));
        let mut names: Vec<_> = parts.iter().flatten().map(|test| test.name).collect();
        let mut expected: Vec<_> = all.iter().map(|test| test.name).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected);
        let [one, other] = parts.map(|part| part.iter().map(|test| test.weight).sum::<u32>());
        let heaviest = all.iter().map(|test| test.weight).max().unwrap();
        assert!(one.abs_diff(other) <= heaviest, "{one} and {other}");
        assert_eq!(Part { index: 0, of: 1 }.of(chosen(None)).len(), all.len());
    }

    #[test]
    fn parts_are_read_as_they_are_written() {
        let part = Part { index: 1, of: 3 };
        assert_eq!(part.to_string().parse(), Ok(part));
        for text in ["", "1", "2/2", "1/0", "-1/2", "a/b"] {
            text.parse::<Part>().unwrap_err();
        }
    }
}
