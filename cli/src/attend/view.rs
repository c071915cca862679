//! How far a transfer is: a bar on a terminal, a line now and then elsewhere.
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vmm::migration::{TransferInfo, TransferState};

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(2);

/// The bar of a VM that comes to this process: what is said about it, and its console, take the bar's place.
static OF_ARRIVAL: OnceLock<ProgressBar> = OnceLock::new();

/// Takes the bar of a VM that comes away, for good.
pub fn take_away() {
    if let Some(bar) = OF_ARRIVAL.get() {
        bar.finish_and_clear();
    }
}

/// What is on the screen.
pub struct View {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl View {
    /// A bar on a terminal, lines elsewhere.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
            // The template is right: a test draws it.
            bar.set_style(style());
            bar
        });
        Self { bar, last_line: None }
    }

    /// The same, until the VM's console takes its place ([`take_away`]); nothing elsewhere.
    pub fn until_the_vm_is_here() -> Option<Self> {
        let view = Self::new();
        let bar = view.bar.clone()?;
        OF_ARRIVAL.set(bar).is_ok().then_some(view)
    }

    /// It is so far.
    pub fn show(&mut self, info: &TransferInfo) {
        if self.bar.as_ref().is_some_and(ProgressBar::is_finished) {
            return;
        }
        let message = line(info);
        let Some(bar) = &self.bar else {
            if self.last_line.is_none_or(|last| last.elapsed() >= LINE) {
                self.last_line = Some(Instant::now());
                self.note(&message);
            }
            return;
        };
        bar.set_length(info.memory_bytes.max(1));
        bar.set_position(info.memory_bytes.saturating_sub(info.remaining_bytes));
        bar.set_message(message);
    }

    /// Says something beside it.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Without anybody to tell, the exit status says it all.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("[{bar:30}] {percent:>3}%  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// How far it is, in one line.
pub fn line(info: &TransferInfo) -> String {
    let mut parts = vec![state_of(info.state).to_owned()];
    if info.iteration > 0 {
        parts.push(format!("round {}", info.iteration + 1));
        parts.push(format!("{}/s sent", rough(info.bandwidth)));
        parts.push(format!("{}/s written", rough(info.dirty_rate)));
    }
    if info.throttle_percent > 0 {
        parts.push(format!("throttled {} %", info.throttle_percent));
    }
    // Nothing was measured before the first round: a number of years says nothing.
    let downtime = info.expected_downtime_us.filter(|micros| *micros < 3_600_000_000);
    if let Some(micros) = downtime {
        let millis = Duration::from_micros(micros).as_secs_f64() * 1000.0;
        parts.push(format!("downtime {millis:.1} ms"));
    }
    if let Some(eta) = info.eta_ms.filter(|eta| *eta >= 1000) {
        parts.push(format!("{} s left", eta / 1000));
    }
    parts.join(", ")
}

const fn state_of(state: TransferState) -> &'static str {
    match state {
        TransferState::Connecting => "connecting",
        TransferState::Comparing => "comparing with the base",
        TransferState::Copying => "copying memory",
        TransferState::Stopped => "last pages",
        TransferState::HandingOver => "handing over",
        TransferState::Committing => "committing",
        TransferState::Completed => "done",
        TransferState::Failed => "failed",
        TransferState::Cancelled => "cancelled",
        TransferState::InDoubt => "in doubt",
        TransferState::Serving => "memory goes after the VM",
        TransferState::Stranded => "stranded",
        TransferState::Filling => "memory comes after the VM",
    }
}

/// A size to three digits.
pub fn rough(bytes: u64) -> String {
    let units = [("G", 1_u64 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
            if whole < 100 {
                format!("{whole}.{tenth} {name}iB")
            } else {
                format!("{whole} {name}iB")
            }
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use vmm::migration::TransferKind;

    use super::*;

    fn info() -> TransferInfo {
        TransferInfo {
            kind: TransferKind::Send,
            state: TransferState::Copying,
            place: "unix:/x".to_owned(),
            elapsed_ms: 1234,
            memory_bytes: 256 << 20,
            done_bytes: 300 << 20,
            iteration: 2,
            remaining_bytes: 64 << 20,
            bandwidth: 1200 << 20,
            dirty_rate: 500 << 10,
            throttle_percent: 40,
            expected_downtime_us: Some(12_345),
            eta_ms: Some(3000),
            downtime: None,
            error: None,
        }
    }

    #[test]
    fn a_line_says_how_far_it_is_and_nothing_that_is_not_known() {
        assert_eq!(
            line(&info()),
            "copying memory, round 3, 1.1 GiB/s sent, 500 KiB/s written, throttled 40 %, \
             downtime 12.3 ms, 3 s left"
        );
        let first = TransferInfo {
            iteration: 0,
            throttle_percent: 0,
            expected_downtime_us: None,
            eta_ms: None,
            ..info()
        };
        assert_eq!(line(&first), "copying memory");
    }

    #[test]
    fn the_bar_can_be_drawn() {
        let bar = ProgressBar::hidden();
        bar.set_style(ProgressStyle::with_template("[{bar:30}] {percent:>3}%  {msg}").unwrap());
        bar.set_message(line(&info()));
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (100 << 10, "100 KiB"),
            (99 << 20, "99.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(rough(bytes), expected);
        }
    }
}
