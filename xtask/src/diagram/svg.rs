//! The graph as SVG. Where a state stands is chosen here; every edge comes from the graph.
use std::fmt::Write;

use super::graph::{Graph, State};

const WIDTH: f64 = 1180.0;
const HEIGHT: f64 = 640.0;
const BOX: (f64, f64) = (206.0, 44.0);
/// How far an edge bends, so that one there and one back do not lie on each other.
const BEND: f64 = 34.0;

#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

fn place(state: State) -> Point {
    let (x, y) = match state {
        State::New => (112.0, 80.0),
        State::Running => (650.0, 80.0),
        State::InGuest => (1065.0, 80.0),
        State::Parked => (365.0, 240.0),
        State::Waiting => (860.0, 240.0),
        State::Paused => (365.0, 400.0),
        State::Asked => (650.0, 400.0),
        State::AskedInGuest => (1065.0, 400.0),
        State::Dead => (112.0, 560.0),
        State::Killed => (1065.0, 560.0),
    };
    Point { x, y }
}

const ANY: Point = Point { x: 650.0, y: 560.0 };

/// The whole picture.
pub fn of(graph: &Graph) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>The lifecycle of a vCPU</title>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 L10 5 L0 10 z\" fill=\"#456\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for ((from, to), names) in &graph.edges {
        let label: Vec<_> = names.iter().copied().collect();
        edge(&mut svg, place(*from), place(*to), &label.join(", "));
    }
    for (to, names) in &graph.from_any {
        let label: Vec<_> = names.iter().copied().collect();
        edge(&mut svg, ANY, place(*to), &label.join(", "));
    }
    for state in State::ALL {
        let fill = match state {
            State::Paused | State::New | State::Dead => "#e4f2e4",
            State::InGuest | State::AskedInGuest => "#fdeedd",
            _ => "#eef2f8",
        };
        node(&mut svg, place(state), state.label(), fill);
    }
    node(&mut svg, ANY, "any but DEAD", "#ffffff");
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#567\">green: quiescent; orange: a kick is needed</text>\n</svg>",
        WIDTH / 2.0,
        HEIGHT - 14.0
    );
    svg
}

fn node(svg: &mut String, at: Point, label: &str, fill: &str) {
    let (x, y) = (at.x - BOX.0 / 2.0, at.y - BOX.1 / 2.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"9\" fill=\"{fill}\" stroke=\"#456\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
        BOX.0,
        BOX.1,
        at.x,
        at.y + 4.5
    );
}

fn edge(svg: &mut String, from: Point, to: Point, label: &str) {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = dx.hypot(dy).max(1.0);
    let middle = Point {
        x: f64::midpoint(from.x, to.x) - dy / length * BEND,
        y: f64::midpoint(from.y, to.y) + dx / length * BEND,
    };
    let (start, end) = (border(from, middle), border(to, middle));
    // The curve comes half way to its control point.
    let top = Point {
        x: (start.x + 2.0 * middle.x + end.x) / 4.0,
        y: (start.y + 2.0 * middle.y + end.y) / 4.0,
    };
    // Beside an upright edge, on a level one.
    let (anchor, shift) = match (dx.abs() < dy.abs(), middle.x > f64::midpoint(from.x, to.x)) {
        (false, _) => ("middle", 0.0),
        (true, true) => ("start", 5.0),
        (true, false) => ("end", -5.0),
    };
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1} Q{:.1} {:.1} {:.1} {:.1}\" fill=\"none\" stroke=\"#456\" marker-end=\"url(#tip)\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#234\" stroke=\"white\" stroke-width=\"4\" \
         paint-order=\"stroke\">{label}</text>",
        start.x,
        start.y,
        middle.x,
        middle.y,
        end.x,
        end.y,
        top.x + shift,
        top.y + 4.0
    );
}

/// Where the line from a box's centre towards a point leaves the box.
fn border(centre: Point, towards: Point) -> Point {
    let (dx, dy) = (towards.x - centre.x, towards.y - centre.y);
    let scale = (BOX.0 / 2.0 / dx.abs().max(0.01)).min(BOX.1 / 2.0 / dy.abs().max(0.01));
    Point { x: centre.x + dx * scale, y: centre.y + dy * scale }
}
