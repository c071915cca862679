//! Several tables of one run: for people one after the other, for programs as JSON.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{Host, Table};

/// Raised when a column changes its meaning or goes away.
const VERSION: u32 = 1;

/// The tables, each with its name.
pub struct Tables {
    host: Host,
    tables: Vec<(&'static str, Table)>,
}

impl Tables {
    /// None yet, of this machine.
    pub fn new(host: Host) -> Self {
        Self { host, tables: Vec::new() }
    }

    /// Adds one.
    pub fn add(&mut self, name: &'static str, table: Table) {
        self.tables.push((name, table));
    }

    /// Writes them as one JSON object: `version`, `host`, and an array of rows by each name.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.json())? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn json(&self) -> Value {
        let mut file = Map::new();
        file.insert("version".into(), VERSION.into());
        file.insert("host".into(), json!(self.host));
        for (name, table) in &self.tables {
            file.insert((*name).to_owned(), json!(table.json()));
        }
        Value::Object(file)
    }
}

impl std::fmt::Display for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut space = "";
        for (_, table) in &self.tables {
            write!(f, "{space}{table}")?;
            space = "\n";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Column, sample};

    #[test]
    fn each_table_has_its_place() {
        let mut tables = Tables::new(sample::report().host);
        for (name, cell) in [("one", "1"), ("other", "2")] {
            let mut table = Table::new([Column::number("n")]);
            table.row([cell.to_owned()]);
            tables.add(name, table);
        }
        assert_eq!(tables.to_string(), "n\n1\n\nn\n2\n");
        let json = tables.json();
        assert_eq!(json["other"], json!([{"n": 2}]));
        assert_eq!(json["host"]["cpus"], 2);
    }
}
