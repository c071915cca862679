//! `SPECIFICATION.md` promises only what a test keeps: every promise names its tests, and every
//! test that it names is in the tree.
//!
//! A promise begins with its number in bold and goes on in indented lines. A test is named in
//! backticks as `path/to/file.rs::name`, or `path/to/directory/::name` where any file below may have
//! it. It is there if the file has a function of that name or, for tests that stand in tables (models,
//! Linux guests, fuzz targets), the name as a string.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace")
}

/// The promises with their numbers (area, then place in it) and all their lines.
fn promises(text: &str) -> Vec<((u32, u32), String)> {
    let mut promises: Vec<((u32, u32), String)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(number) = number(line) {
            promises.push((number, line.to_owned()));
            is_inside = true;
        } else if is_inside
            && line.starts_with(' ')
            && let Some((_, promise)) = promises.last_mut()
        {
            promise.push('\n');
            promise.push_str(line);
        } else {
            is_inside = false;
        }
    }
    promises
}

/// The number that a promise begins with: `**3.14**`.
fn number(line: &str) -> Option<(u32, u32)> {
    let (area, place) = line.strip_prefix("**")?.split_once("**")?.0.split_once('.')?;
    Some((area.parse().ok()?, place.parse().ok()?))
}

/// The tests that a text names: where, and what.
fn tests(text: &str) -> Vec<(&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect()
}

/// The Rust files at or below a place.
fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let mut found: Vec<_> =
        entries.flat_map(|entry| sources(&entry.expect("an entry").path())).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found
}

fn is_defined(place: &Path, name: &str) -> bool {
    let function = format!("fn {name}(");
    let listed = format!("\"{name}\"");
    sources(place).iter().any(|path| {
        let text = fs::read_to_string(path).expect("a source is text");
        text.contains(&function) || text.contains(&listed)
    })
}

#[test]
fn every_promise_has_a_test_and_every_test_exists() {
    let text = fs::read_to_string(root().join("SPECIFICATION.md")).expect("it is there");
    let promises = promises(&text);
    assert!(promises.len() > 50, "only {} promises were found", promises.len());
    let mut wrong = Vec::new();
    let mut last = (0, 0);
    for ((area, place), promise) in &promises {
        let number = format!("{area}.{place}");
        if (*area, *place) != (last.0, last.1 + 1) && (*area, *place) != (last.0 + 1, 1) {
            wrong.push(format!("{number} comes after {}.{}", last.0, last.1));
        }
        last = (*area, *place);
        let tests = tests(promise);
        if tests.is_empty() {
            wrong.push(format!("{number}: no test keeps this promise"));
        }
        for (path, name) in tests {
            if !is_defined(&root().join(path), name) {
                wrong.push(format!("{number}: {path} has no test {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "SPECIFICATION.md:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_not_there_is_noticed() {
    let own = root().join("xtask/tests");
    assert!(is_defined(&own, "what_is_not_there_is_noticed"));
    assert!(is_defined(&own.join("specification.rs"), "a_test_in_a_table"));
    assert!(!is_defined(&own, &["no", "such", "test"].join("_")));
    assert!(!is_defined(&own.join("missing.rs"), "what_is_not_there_is_noticed"));
    let text = "# 1\n\n**1.1** One.\n  `a/b.rs::c` `x`\n\n**1.2** Two.\nNot part of it: `d::e`\n";
    let found = promises(text);
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [(1, 1), (1, 2)]);
    assert_eq!(tests(&found[0].1), [("a/b.rs", "c")]);
    assert!(tests(&found[1].1).is_empty());
}
