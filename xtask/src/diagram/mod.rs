//! `cargo xtask diagram`: the states of the lifecycle word, drawn from `transition` itself.
//!
//! ```text
//!   every coherent word × event ──transition──▶ Graph ─┬─▶ Mermaid, in the README between two markers
//!                                                      └─▶ SVG, docs/lifecycle.svg
//! ```
//! Nothing is drawn by hand but where a state stands. A test compares what is committed with what
//! would be drawn now.
mod graph;
mod mermaid;
mod svg;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths;

const BEGIN: &str = "<!-- the lifecycle, drawn by `cargo xtask diagram` -->\n";
const END: &str = "<!-- end of the lifecycle -->\n";

/// A file, and what is to stand in it.
struct Drawing {
    file: PathBuf,
    text: String,
}

fn draw() -> Result<[Drawing; 2]> {
    let graph = graph::Graph::of_transition();
    let readme = paths::workspace().join("README.md");
    let old = std::fs::read_to_string(&readme)
        .with_context(|| format!("cannot read {}", readme.display()))?;
    let (before, rest) = old.split_once(BEGIN).context("README.md has no place for it")?;
    let (_, after) = rest.split_once(END).context("the place in README.md has no end")?;
    let text = format!("{before}{BEGIN}\n```mermaid\n{}```\n\n{END}{after}", mermaid::of(&graph));
    let svg =
        Drawing { file: paths::workspace().join("docs/lifecycle.svg"), text: svg::of(&graph) };
    Ok([Drawing { file: readme, text }, svg])
}

/// Draws it anew.
pub fn run() -> Result<()> {
    for Drawing { file, text } in draw()? {
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn the_committed_diagrams_are_those_of_the_transition() {
        for drawing in draw().unwrap() {
            let committed = std::fs::read_to_string(&drawing.file).unwrap();
            assert!(
                committed == drawing.text,
                "{} is out of step: run `cargo xtask diagram`",
                drawing.file.display()
            );
        }
    }
}
