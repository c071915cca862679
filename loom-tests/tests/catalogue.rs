//! The models are the catalogue: every entry of sections A, B, C and D, under its name, in its order, with both
//! halves.
#![cfg(all(loom, feature = "vmm"))]

use loom_tests::races;

/// A name a line. What is behind it is for others: races with a device, each of which has a mutation in `mutants.json`.
const CATALOGUE: &str = include_str!("catalogue.txt");

fn catalogue() -> impl Iterator<Item = &'static str> {
    let entries = CATALOGUE.lines().filter(|line| !line.starts_with('#'));
    entries.filter_map(|line| line.split_whitespace().next())
}

#[test]
fn every_entry_is_a_pair() {
    let names: Vec<_> = races::models().map(|model| model.name).collect();
    assert_eq!(names, catalogue().collect::<Vec<_>>());
    assert!(races::models().all(|model| model.historic.is_some()));
}

#[test]
fn names_are_unique() {
    let names: Vec<_> = loom_tests::runner::models().map(|model| model.name).collect();
    let unique: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}
