//! The table: what each layer made of the mutants that reached it.
use std::fmt;
use std::time::Duration;

use super::outcome::{Mutant, Verdict};

/// One layer's numbers.
pub struct Row {
    layer: &'static str,
    mutants: usize,
    caught: usize,
    timed_out: usize,
    unviable: usize,
    survived: usize,
    time: Duration,
}

impl Row {
    /// Counts.
    pub fn new(layer: &'static str, outcomes: &[(Mutant, Verdict)], time: Duration) -> Self {
        let of = |which| outcomes.iter().filter(|(_, verdict)| *verdict == which).count();
        Self {
            layer,
            mutants: outcomes.len(),
            caught: of(Verdict::Caught),
            timed_out: of(Verdict::TimedOut),
            unviable: of(Verdict::Unviable),
            survived: of(Verdict::Survived),
            time,
        }
    }
}

/// All layers.
#[derive(Default)]
pub struct Table {
    /// In the order in which they ran.
    pub rows: Vec<Row>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "layer    mutants  caught  timed out  unviable  survived      time")?;
        for row in &self.rows {
            let Row { layer, mutants, caught, timed_out, unviable, survived, time } = row;
            let time = time.as_secs();
            writeln!(
                f,
                "{layer:7}  {mutants:7}  {caught:6}  {timed_out:9}  {unviable:8}  {survived:8}  {time:6} s"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_adds_up() {
        let outcomes = [Verdict::Caught, Verdict::TimedOut, Verdict::Survived, Verdict::Unviable]
            .map(|verdict| (Mutant { name: String::new() }, verdict));
        let table = Table { rows: vec![Row::new("rules", &outcomes, Duration::from_secs(61))] };
        let lines: Vec<_> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["rules", "4", "1", "1", "1", "1", "61", "s"]
        );
        assert_eq!(lines[0].len(), lines[1].len());
    }
}
