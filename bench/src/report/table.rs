//! Text tables: aligned columns under one or two lines of heads.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// A column's heads.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    group: &'static str,
    name: &'static str,
    align: Align,
}

impl Column {
    /// Words.
    pub const fn text(name: &'static str) -> Self {
        Self { group: "", name, align: Align::Left }
    }

    /// Numbers.
    pub const fn number(name: &'static str) -> Self {
        Self { group: "", name, align: Align::Right }
    }

    /// The first column of a group, whose name stands above it and the columns that follow.
    pub const fn under(self, group: &'static str) -> Self {
        Self { group, ..self }
    }
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Without a row yet.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row; cells beyond the columns are dropped, missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<_> = cells.into_iter().take(self.columns.len()).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Its rows as objects, for programs: a cell by its column's name, behind that of its group. Numbers are numbers, and what
    /// is empty is null.
    pub fn json(&self) -> Vec<Map<String, Value>> {
        let mut group = "";
        let mut keys = Vec::new();
        for column in &self.columns {
            if !column.group.is_empty() {
                group = column.group;
            }
            let within = if group.is_empty() { String::new() } else { format!("{group}: ") };
            keys.push(format!("{within}{}", column.name));
        }
        let value = |column: &Column, cell: &str| match column.align {
            _ if cell.is_empty() => Value::Null,
            // A whole number, a number, or what is none.
            Align::Right => serde_json::from_str::<Number>(cell).map_or(cell.into(), Value::from),
            Align::Left => cell.into(),
        };
        let object = |row: &Vec<String>| {
            let cells = keys.iter().zip(&self.columns).zip(row);
            cells.map(|((key, column), cell)| (key.clone(), value(column, cell))).collect()
        };
        self.rows.iter().map(object).collect()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let width = |text: &str| text.chars().count();
        let widest = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| width(&row[index])).max().unwrap_or(0);
            cells.max(width(column.name))
        };
        self.columns.iter().enumerate().map(widest).collect()
    }
}

/// Space between columns, and before a group.
const GAP: usize = 2;
const GROUP_GAP: usize = 4;

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths = self.widths();
        let gap = |index: usize| match index {
            0 => 0,
            _ if self.columns[index].group.is_empty() => GAP,
            _ => GROUP_GAP,
        };
        let line = |cells: &[&str]| {
            let mut line = String::new();
            for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let gap = gap(index);
                // Cannot fail: it writes to a string.
                let _ = match self.columns[index].align {
                    Align::Left => write!(line, "{:gap$}{cell:<width$}", ""),
                    Align::Right => write!(line, "{:gap$}{cell:>width$}", ""),
                };
            }
            line.trim_end().to_owned()
        };
        if self.columns.iter().any(|column| !column.group.is_empty()) {
            let mut groups = String::new();
            let mut end = 0;
            for (index, column) in self.columns.iter().enumerate() {
                end += gap(index);
                if !column.group.is_empty() {
                    let pad = end.saturating_sub(groups.chars().count());
                    let _ = write!(groups, "{:pad$}{}", "", column.group);
                }
                end += widths[index];
            }
            writeln!(f, "{groups}")?;
        }
        writeln!(
            f,
            "{}",
            line(&self.columns.iter().map(|column| column.name).collect::<Vec<_>>())
        )?;
        for row in &self.rows {
            writeln!(f, "{}", line(&row.iter().map(String::as_str).collect::<Vec<_>>()))?;
        }
        Ok(())
    }
}

/// A figure with two to three significant digits, but never more than three decimals.
pub fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.5 => 0,
        v if v >= 9.95 => 1,
        v if v >= 0.0995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_groups_stand_above_theirs() {
        let mut table = Table::new([
            Column::text("name"),
            Column::number("a").under("numbers"),
            Column::number("bb"),
        ]);
        assert!(table.is_empty());
        table.row(["x", "1", "2"].map(String::from));
        table.row(["longer", "100"].map(String::from));
        assert_eq!(
            table.to_string(),
            "          numbers\n\
             name        a  bb\n\
             x           1   2\n\
             longer    100\n"
        );
    }

    #[test]
    fn programs_get_numbers_by_group_and_name() {
        let mut table = Table::new([
            Column::text("name"),
            Column::number("a").under("numbers"),
            Column::number("a b").under("others"),
        ]);
        table.row(["x", "1.5"].map(String::from));
        let json = serde_json::to_value(table.json()).unwrap();
        let expected = serde_json::json!([{"name": "x", "numbers: a": 1.5, "others: a b": null}]);
        assert_eq!(json, expected);
    }

    #[test]
    fn figures_have_two_or_three_digits() {
        for (value, text) in [
            (0.0, "0.000"),
            (0.0312, "0.031"),
            (0.0996, "0.10"),
            (0.653, "0.65"),
            (9.94, "9.94"),
            (9.96, "10.0"),
            (22.83, "22.8"),
            (99.6, "100"),
            (932.4, "932"),
        ] {
            assert_eq!(digits(value), text);
        }
    }
}
