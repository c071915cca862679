//! How `top` looks.
//!
//! ```text
//! ┌ web ───────────────────────────┐
//! │ phase, pid, memory, latencies  │
//! ├ vCPUs ──────────┬ exits/s ─────┤
//! │ 0  RUN|IN_GUEST │ hlt     1.2k │
//! └─────────────────┴──────────────┘
//!  message or keys
//! ```
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table};
use vmm::config::print_size;
use vmm::control::{VmInfo, VmState};

use super::model::Model;

const KEYS: &str = "p pause  r resume  n NMI  ↑↓ scroll  q quit";

/// Draws everything; moves the table of vCPUs into range.
pub fn draw(frame: &mut Frame, model: &mut Model) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(5), Constraint::Min(3), Constraint::Length(1)])
            .areas(frame.area());
    let [vcpus, exits] =
        Layout::horizontal([Constraint::Min(20), Constraint::Length(34)]).areas(body);
    draw_head(frame, model, head);
    draw_vcpus(frame, model, vcpus);
    draw_exits(frame, model, exits);
    let text = match (&model.trouble, &model.message) {
        _ if model.has_ended() => "The VMM has ended. Press a key.",
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => KEYS,
    };
    frame.render_widget(Paragraph::new(text).dim(), foot);
}

fn draw_head(frame: &mut Frame, model: &Model, area: Rect) {
    let block = Block::bordered().title(format!(" {} ", model.name));
    let lines = model.sample.as_ref().map_or_else(
        || vec![Line::from("waiting for the VM")],
        |sample| describe(&sample.info, model.has_ended()),
    );
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn describe(info: &VmInfo, has_ended: bool) -> Vec<Line<'static>> {
    let (phase, colour) = match info.state {
        _ if has_ended => ("Ended".to_owned(), Color::Red),
        VmState::Running => ("Running".to_owned(), Color::Green),
        VmState::Paused => ("Paused".to_owned(), Color::Yellow),
        other => (format!("{other:?}"), Color::Blue),
    };
    let latency = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), |us| format!("{us} µs"));
    let mut lines = vec![
        Line::from(vec![
            Span::from("phase "),
            Span::styled(phase, Style::new().fg(colour).bold()),
            Span::from(format!(
                "   pid {}   vCPUs {} of {}   memory {}",
                info.pid,
                info.vcpus.len(),
                info.config.cpus.max_vcpus,
                print_size(info.memory_actual_size)
            )),
        ]),
        Line::from(format!(
            "last pause {}   last resume {}   start to running {}",
            latency(info.last_pause_us),
            latency(info.last_resume_us),
            latency(info.boot_us)
        )),
    ];
    if let Some(error) = &info.last_error {
        lines.push(Line::from(format!("error: {error}")).fg(Color::Red));
    }
    lines
}

fn draw_vcpus(frame: &mut Frame, model: &mut Model, area: Rect) {
    let vcpus = model.sample.as_ref().map_or(&[][..], |sample| &sample.info.vcpus);
    let visible = usize::from(area.height.saturating_sub(2));
    model.top_vcpu = model.top_vcpu.min(vcpus.len().saturating_sub(visible));
    let last = (model.top_vcpu + visible).min(vcpus.len());
    let title = if vcpus.len() > visible {
        format!(" vCPUs {} to {} of {} ", model.top_vcpu, last.saturating_sub(1), vcpus.len())
    } else {
        " vCPUs ".to_owned()
    };
    let rows = vcpus[model.top_vcpu..last]
        .iter()
        .map(|vcpu| Row::new([format!("{:>4}", vcpu.index), vcpu.state.clone()]));
    let table = Table::new(rows, [Constraint::Length(4), Constraint::Min(10)])
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn draw_exits(frame: &mut Frame, model: &Model, area: Rect) {
    let all: f64 = model.exits.iter().map(|(_, _, rate)| rate).sum();
    let mut kinds: Vec<_> = model.exits.iter().collect();
    // The busiest on top; the order of names where nothing happens.
    kinds.sort_by(|one, other| other.2.total_cmp(&one.2));
    let rows = kinds.into_iter().map(|(kind, total, rate)| {
        Row::new([kind.clone(), format!("{:>7}", short(*rate)), format!("{:>7}", total_of(*total))])
    });
    let widths = [Constraint::Min(8), Constraint::Length(7), Constraint::Length(7)];
    let title = format!(" exits/s {} ", short(all));
    let table = Table::new(rows, widths)
        .header(Row::new(["kind", "    /s", "  total"]).dim())
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn total_of(count: u64) -> String {
    short(count as f64)
}

/// Three digits or so: `7`, `950`, `1.2k`, `34.5M`.
fn short(number: f64) -> String {
    match number {
        n if n < 1e3 => format!("{n:.0}"),
        n if n < 1e6 => format!("{:.1}k", n / 1e3),
        n if n < 1e9 => format!("{:.1}M", n / 1e6),
        n => format!("{:.1}G", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::sample;
    use super::*;

    fn screen(model: &mut Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
        terminal.draw(|frame| draw(frame, model)).expect("drawn");
        terminal.backend().to_string()
    }

    fn model(vcpus: u32) -> Model {
        let start = Instant::now();
        let mut model = Model::new("web".to_owned());
        model.add(sample(start, vcpus, 0));
        model.add(sample(start + Duration::from_secs(1), vcpus, 1234));
        model
    }

    fn assert_shows(screen: &str, expected: &[&str]) {
        for text in expected {
            assert!(screen.contains(text), "{text:?} is missing:\n{screen}");
        }
    }

    #[test]
    fn a_running_vm() {
        let screen = screen(&mut model(2), 90, 14);
        assert_shows(
            &screen,
            &[
                " web ",
                "phase Running",
                "pid 4711",
                "memory 512M",
                "last pause 312 µs   last resume 98 µs   start to running 5100 µs",
                "0 RUN epoch=0",
                "1 RUN epoch=1",
                " exits/s 2.5k ",
                "hlt",
                "2.5k",
                "io_in",
                KEYS,
            ],
        );
    }

    #[test]
    fn many_vcpus_scroll_and_stay_in_range() {
        let mut model = model(254);
        assert_shows(&screen(&mut model, 90, 16), &["vCPUs 0 to 7 of 254", "7 RUN epoch=7"]);
        model.scroll(isize::MAX);
        assert_shows(&screen(&mut model, 90, 16), &["vCPUs 246 to 253 of 254", "RUN epoch=253"]);
        model.scroll(-1);
        assert_shows(&screen(&mut model, 90, 16), &["vCPUs 245 to 252 of 254"]);
        model.scroll(isize::MIN);
        assert_shows(&screen(&mut model, 90, 16), &["vCPUs 0 to 7 of 254"]);
    }

    #[test]
    fn the_end_an_error_and_a_message() {
        let mut model = model(1);
        model.message = Some("vm.pause: done".to_owned());
        assert_shows(&screen(&mut model, 90, 14), &["vm.pause: done"]);
        model.trouble = Some("the VMM does not answer".to_owned());
        assert_shows(&screen(&mut model, 90, 14), &["the VMM does not answer"]);
        model.add(sample(Instant::now(), 1, 2000));
        assert_shows(&screen(&mut model, 90, 14), &["vm.pause: done"]);
        if let Some(sample) = &mut model.sample {
            sample.info.last_error = Some("vCPU 0: triple fault".to_owned());
        }
        model.end();
        assert_shows(
            &screen(&mut model, 90, 14),
            &["phase Ended", "error: vCPU 0: triple fault", "The VMM has ended. Press a key."],
        );
    }

    #[test]
    fn no_size_is_too_small() {
        for (width, height) in [(1, 1), (5, 3), (20, 8), (300, 100)] {
            screen(&mut model(254), width, height);
            screen(&mut Model::new(String::new()), width, height);
        }
    }

    #[test]
    fn numbers_are_short() {
        for (number, expected) in
            [(0.0, "0"), (999.0, "999"), (1200.0, "1.2k"), (34.5e6, "34.5M"), (2e9, "2.0G")]
        {
            assert_eq!(short(number), expected);
        }
    }
}
