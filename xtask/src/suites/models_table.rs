//! The tables of the models' own runner, a line for each model instead of one for each of its halves.
//!
//! ```text
//!   model   half         bound  executions    time  result
//!   serial  historic      none           1  0.00 s  found (violation)
//!   serial  ours             2        7468  0.46 s  not found          ─▶  a line that says all of it
//!   serial  ours-newest      3       87265  5.25 s  not found
//!   all                              94734  5.71 s
//! ```
use std::fmt::Write;

/// One half of a model as the runner tells it.
struct Half<'a> {
    model: &'a str,
    name: &'a str,
    bound: &'a str,
    executions: &'a str,
    seconds: f64,
    result: String,
}

impl<'a> Half<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (model, name, bound) = (words.next()?, words.next()?, words.next()?);
        let (executions, seconds) = (words.next()?, words.next()?.parse().ok()?);
        (words.next()? == "s").then_some(())?;
        let result = words.collect::<Vec<_>>().join(" ");
        Some(Self { model, name, bound, executions, seconds, result })
    }

    /// Executions, the bound within which they are all, and what was found, said only where it is something.
    fn text(&self) -> String {
        let Self { name, bound, executions, result, .. } = self;
        let bound = if *bound == "none" { String::new() } else { format!(" (bound {bound})") };
        let result = if result == "not found" { String::new() } else { format!(": {result}") };
        format!("{name} {executions}{bound}{result}")
    }
}

/// All tables in the output: a heading, a line a model, the totals.
pub fn tables(text: &str) -> String {
    let mut tables = String::new();
    let mut model: Vec<Half<'_>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("model ") && line.ends_with("  result") {
            inside = true;
            tables.push_str(
                "    model: executions of each half; \"ours\" find nothing unless it is said\n",
            );
            continue;
        }
        if !inside {
            continue;
        }
        let half = Half::parse(line);
        if model.first().map(|first| first.model) != half.as_ref().map(|half| half.model) {
            flush(&mut tables, &mut model);
        }
        if let Some(half) = half {
            model.push(half);
        } else {
            let words: Vec<_> = line.split_whitespace().collect();
            // Cannot fail: a string takes all.
            let _ = writeln!(tables, "    {}", words.join(" "));
        }
        inside &= !line.starts_with("all ");
    }
    flush(&mut tables, &mut model);
    tables
}

/// Writes the line of a model.
fn flush(tables: &mut String, model: &mut Vec<Half<'_>>) {
    let Some(first) = model.first() else { return };
    let seconds: f64 = model.iter().map(|half| half.seconds).sum();
    let halves: Vec<_> = model.iter().map(Half::text).collect();
    // Cannot fail: a string takes all.
    let _ = writeln!(tables, "    {} ({seconds:.1} s): {}", first.model, halves.join(", "));
    model.clear();
}

#[cfg(test)]
mod tests {
    use super::tables;

    #[test]
    fn a_model_is_a_line() {
        let text = "model half=x\nmodel  half  bound  executions  time  result\n\
            a historic none 1 0.00 s found (violation)\na ours 2 7468 0.46 s not found\n\
            b historic none 2 0.10 s not found\nall 7471 0.56 s\n9 passed\n";
        let lines: Vec<_> = tables(text).lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "    a (0.5 s): historic 1: found (violation), ours 7468 (bound 2)");
        assert_eq!(lines[2], "    b (0.1 s): historic 2");
        assert_eq!(lines[3], "    all 7471 0.56 s");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn output_without_a_table_has_none() {
        assert_eq!(tables("test result: ok."), "");
    }
}
