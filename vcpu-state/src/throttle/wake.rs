//! How long members take for something, where a processor is free for them: from being let go to running, from being asked to
//! standing still.

use std::time::Duration;

/// What is usual, learnt from what each took: quick to follow shorter ones, slow to follow longer ones, since
/// those mostly waited for a processor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency(Option<Duration>);

impl Latency {
    /// No single one counts for more than this at first.
    const FIRST: Duration = Duration::from_micros(100);

    pub(super) fn usual(&self) -> Duration {
        self.0.unwrap_or_default()
    }

    /// Takes note of one.
    pub(super) fn learn(&mut self, took: Duration) {
        self.0 = Some(match self.0 {
            None => took.min(Self::FIRST),
            Some(usual) if took < usual => (usual * 3 + took) / 4,
            Some(usual) => usual + took.saturating_sub(usual).min(usual) / 32,
        });
    }
}
