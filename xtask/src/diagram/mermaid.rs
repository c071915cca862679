//! The graph as a Mermaid state diagram.
use std::collections::BTreeSet;
use std::fmt::Write;

use super::graph::{Graph, State};

/// The text between the fences.
pub fn of(graph: &Graph) -> String {
    let mut text = String::from("stateDiagram-v2\n");
    let mut line = |line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {line}");
    };
    line("state \"any of these\" as Any".to_owned());
    for state in State::ALL {
        line(format!("{}: {}", state.id(), state.label()));
    }
    line("[*] --> New".to_owned());
    for ((from, to), names) in &graph.edges {
        line(format!("{} --> {}: {}", from.id(), to.id(), join(names)));
    }
    for (to, names) in &graph.from_any {
        line(format!("Any --> {}: {}", to.id(), join(names)));
    }
    text
}

fn join(names: &BTreeSet<&'static str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}
