//! The report as a picture: four panels, {halted, spinning} × {pause, resume}, logarithmic, grouped by
//! number of vCPUs. A dot is a median, its line reaches from the smallest sample to the largest, and a
//! tick on it is the 99th percentile. Others are known by their medians only.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::{Report, Row};
use crate::cell::{Guest, Place, Verb};

const SIZE: (u32, u32) = (1440, 900);
const HEAD: u32 = 74;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(38, 42, 48);
const FAINT: RGBColor = RGBColor(226, 229, 233);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;

/// A series: its name, colour, and place among the series of a group, from -1 to 1.
struct Series {
    name: &'static str,
    color: RGBColor,
    shift: f64,
}

const fn series(name: &'static str, color: RGBColor, shift: f64) -> Series {
    Series { name, color, shift }
}

const OTHERS: Series = series("other VMMs (best), API socket", RGBColor(190, 82, 64), -0.34);
const SOCKET: Series = series("Stillpoint, API socket", RGBColor(24, 94, 168), -0.12);
const IN_PROCESS: Series = series("Stillpoint, in process", RGBColor(72, 160, 200), 0.1);
const THREADS: Series = series("bare threads, signalled once", RGBColor(128, 132, 138), 0.32);
const LEGEND: [Series; 4] = [SOCKET, IN_PROCESS, THREADS, OTHERS];

fn of(place: Place) -> Series {
    match place {
        Place::Socket => SOCKET,
        Place::InProcess => IN_PROCESS,
        Place::Threads => THREADS,
    }
}

/// Writes the report as SVG.
pub fn write_svg(report: &Report, path: &Path) -> Result<()> {
    draw(report, path).map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
}

fn draw(report: &Report, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let rows = report.rows();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(HEAD);
    draw_head(report, &head)?;
    let mut groups: Vec<u32> = rows.iter().map(|row| row.vcpus).collect();
    groups.sort_unstable();
    groups.dedup();
    let limits = limits(&rows);
    let panels = body.split_evenly((2, 2));
    let titles = Verb::ALL.into_iter().flat_map(|verb| Guest::ALL.map(|guest| (verb, guest)));
    for (panel, (verb, guest)) in panels.iter().zip(titles) {
        let of_panel = |row: &&Row| row.verb == verb && row.guest == guest;
        let shown: Vec<_> = rows.iter().filter(of_panel).collect();
        draw_panel(
            panel,
            &format!("{}, vCPUs {}", verb.name(), guest.name()),
            &shown,
            &groups,
            limits,
        )?;
    }
    root.present()?;
    Ok(())
}

fn draw_head(report: &Report, area: &Area) -> Result<(), Box<dyn std::error::Error>> {
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    area.draw(&Text::new("Pause and resume latency", (24, 12), text(22)))?;
    let host = &report.host;
    let on = format!("{} CPUs, Linux {}; milliseconds, logarithmic", host.cpus, host.kernel);
    area.draw(&Text::new(on, (290, 18), text(14)))?;
    for (entry, left) in LEGEND.iter().zip([30, 230, 430, 670]) {
        area.draw(&Circle::new((left, 56), 5, entry.color.filled()))?;
        area.draw(&Text::new(entry.name, (left + 12, 48), text(15)))?;
    }
    Ok(())
}

fn draw_panel(
    area: &Area,
    title: &str,
    rows: &[&Row],
    groups: &[u32],
    limits: (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let count = f64::from(u32::try_from(groups.len())?);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 17).into_font().color(&INK))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.5..count - 0.5, (limits.0..limits.1).log_scale())?;
    let group_at = |x: &f64| {
        let found = (0_u32..).zip(groups).find(|(at, _)| (f64::from(*at) - x).abs() < 0.01);
        found.map_or_else(String::new, |(_, vcpus)| match vcpus {
            1 => "1 vCPU".to_owned(),
            more => format!("{more} vCPUs"),
        })
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .x_labels(groups.len() * 2 + 1)
        .x_label_formatter(&group_at)
        .y_labels(8)
        .y_label_formatter(&|y| format!("{y}"))
        .label_style((FONT, 14).into_font().color(&INK))
        .draw()?;
    for row in rows {
        let Some(group) = (0_u32..).zip(groups).find(|(_, vcpus)| **vcpus == row.vcpus) else {
            continue;
        };
        draw_row(&mut chart, row, f64::from(group.0), limits.0)?;
    }
    Ok(())
}

fn draw_row(
    chart: &mut Chart,
    row: &Row,
    group: f64,
    lowest: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let Series { color, shift, .. } = of(row.place);
    let x = group + shift;
    let at = |y: f64| y.max(lowest);
    let s = &row.paced;
    let line = ShapeStyle::from(&color.mix(0.55)).stroke_width(2);
    let whisker = vec![(x, at(s.min_ms)), (x, at(s.max_ms))];
    let tick = vec![(x - 0.03, at(s.p99_ms)), (x + 0.03, at(s.p99_ms))];
    chart.draw_series([PathElement::new(whisker, line), PathElement::new(tick, line)])?;
    label(chart, (x, at(s.median_ms)), s.median_ms, color)?;
    if let Some(others) = row.others_ms {
        label(chart, (group + OTHERS.shift, others), others, OTHERS.color)?;
    }
    Ok(())
}

/// A dot with its value beside it.
fn label(
    chart: &mut Chart,
    at: (f64, f64),
    value: f64,
    color: RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    let style = (FONT, 11).into_font().color(&color);
    let dot = EmptyElement::at(at)
        + Circle::new((0, 0), 5, color.filled())
        + Text::new(super::digits(value), (9, -5), style);
    chart.draw_series([dot])?;
    Ok(())
}

/// Whole decades around everything that is shown.
fn limits(rows: &[Row]) -> (f64, f64) {
    let values = rows.iter().flat_map(|row| {
        [row.paced.min_ms, row.paced.max_ms, row.others_ms.unwrap_or(row.paced.median_ms)]
    });
    let (mut low, mut high) = (f64::MAX, 0.0_f64);
    for value in values.filter(|value| *value > 0.0) {
        (low, high) = (low.min(value), high.max(value));
    }
    if low > high {
        return (0.01, 1.0);
    }
    (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_panel_series_and_group_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plot.svg");
        write_svg(&sample::report(), &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        for text in [
            "pause, vCPUs halted",
            "pause, vCPUs spinning",
            "resume, vCPUs halted",
            "resume, vCPUs spinning",
        ] {
            assert!(svg.contains(text), "no panel {text}");
        }
        for text in ["other VMMs", "API socket", "in process", "bare threads", "254 vCPUs"] {
            assert!(svg.contains(text), "{text} is missing");
        }
        // A dot for each row, each figure of others, and each series in the legend.
        assert_eq!(svg.matches("<circle").count(), 48 + 14 + 4);
    }

    #[test]
    fn nothing_can_be_drawn_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut report = sample::report();
        report.measured.clear();
        write_svg(&report, &dir.path().join("plot.svg")).unwrap();
        let error = write_svg(&report, Path::new("/nowhere/plot.svg")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/plot.svg"), "{error}");
    }

    #[test]
    fn limits_are_whole_decades_around_all() {
        let rows = sample::report().rows();
        assert_eq!(limits(&rows), (0.001, 1000.0));
    }
}
