//! How long members take from being let go to running, where a processor is free for them.

use std::time::Duration;

/// What is usual, learnt from what each wake took: quick to follow shorter ones, slow to follow longer ones, since
/// those mostly waited for a processor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WakeLatency(Option<Duration>);

impl WakeLatency {
    /// No single wake counts for more than this at first.
    const FIRST: Duration = Duration::from_micros(100);

    pub(super) fn usual(&self) -> Duration {
        self.0.unwrap_or_default()
    }

    /// Takes note of a wake.
    pub(super) fn learn(&mut self, took: Duration) {
        self.0 = Some(match self.0 {
            None => took.min(Self::FIRST),
            Some(usual) if took < usual => (usual * 3 + took) / 4,
            Some(usual) => usual + took.saturating_sub(usual).min(usual) / 32,
        });
    }
}
