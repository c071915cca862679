//! Order statistics of a set of durations.
//!
//! The 99th percentile is by nearest rank (the smallest sample that at least 99 % of the samples do
//! not exceed), so it is always a value that was measured; the median of an even number of samples is
//! the mean of the two in the middle.

use std::time::Duration;

use serde::Serialize;

/// Minimum, median, 99th percentile and maximum, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many samples there were; at least one.
    pub samples: usize,
    /// The smallest.
    pub min_ms: f64,
    /// The median.
    pub median_ms: f64,
    /// The 99th percentile by nearest rank.
    pub p99_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Summary {
    /// Summarises; `None` without a sample.
    pub fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        Some(Self {
            samples: sorted.len(),
            min_ms: ms(*sorted.first()?),
            median_ms: ms(median(&sorted)?),
            p99_ms: ms(percentile(&sorted, 99)?),
            max_ms: ms(*sorted.last()?),
        })
    }

    /// How many times the median the worst sample took; 1 when all took no time at all.
    pub fn max_over_median(&self) -> f64 {
        if self.max_ms == 0.0 { 1.0 } else { self.max_ms / self.median_ms }
    }
}

/// A duration in milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The median of sorted samples.
pub fn median(sorted: &[Duration]) -> Option<Duration> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some((lower + upper) / 2)
}

/// The `percent`-th percentile of sorted samples, by nearest rank; `percent` from 0 to 100.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_micros).collect()
    }

    #[test]
    fn nothing_has_no_statistics() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn one_sample_is_all_of_them() {
        let summary = Summary::of(&micros([1500])).unwrap();
        assert_eq!(
            summary,
            Summary { samples: 1, min_ms: 1.5, median_ms: 1.5, p99_ms: 1.5, max_ms: 1.5 }
        );
        assert!((summary.max_over_median() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn order_of_samples_does_not_matter() {
        let summary = Summary::of(&micros([5000, 1000, 3000])).unwrap();
        assert_eq!(
            summary,
            Summary { samples: 3, min_ms: 1.0, median_ms: 3.0, p99_ms: 5.0, max_ms: 5.0 }
        );
    }

    #[test]
    fn median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&micros([1, 2, 4, 9])), Some(Duration::from_micros(3)));
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        for (count, percent, rank) in [
            (100, 99, 99),
            (101, 99, 100),
            (1000, 99, 990),
            (1000, 50, 500),
            (5, 99, 5),
            (5, 20, 1),
            (5, 0, 1),
            (5, 100, 5),
        ] {
            assert_eq!(
                percentile(&micros(1..=count), percent),
                Some(Duration::from_micros(rank)),
                "{percent} % of {count}"
            );
        }
    }

    #[test]
    fn samples_of_no_length_divide_by_nothing() {
        let summary = Summary::of(&[Duration::ZERO; 4]).unwrap();
        assert!((summary.max_over_median() - 1.0).abs() < 1e-9);
    }
}
