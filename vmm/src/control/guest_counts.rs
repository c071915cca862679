//! What guests have done by themselves, counted: it outlives the reset that it may have led to.

use std::collections::BTreeMap;

use vcpu_state::sync::atomic::{AtomicU64, Ordering};

use super::GuestEvent;

/// A count for each event, from the VM's creation to its deletion.
#[derive(Debug, Default)]
pub(super) struct GuestCounts([AtomicU64; GuestEvent::ALL.len()]);

impl GuestCounts {
    /// One more.
    pub(super) fn count(&self, event: GuestEvent) {
        if let Some(count) = self.0.get(event as usize) {
            // Relaxed: a statistic.
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// None yet.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// As `vm.counters` shows them.
    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        GuestEvent::ALL
            .into_iter()
            .zip(self.0.iter().map(load))
            .map(|(event, count)| (name(event).to_owned(), count))
            .collect()
    }
}

const fn name(event: GuestEvent) -> &'static str {
    match event {
        GuestEvent::PowerOff => "power_offs",
        GuestEvent::Reset => "resets",
        GuestEvent::WatchdogExpired => "watchdog_resets",
        GuestEvent::Panicked => "panics",
        GuestEvent::CrashLoaded => "crash_kernels",
        GuestEvent::VcpuFailed => "vcpu_failures",
        GuestEvent::Ejected => "ejections",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_count_of_its_own() {
        let counts = GuestCounts::default();
        for (times, event) in (1..).zip(GuestEvent::ALL) {
            (0..times).for_each(|_| counts.count(event));
        }
        let counted = counts.counters();
        for (times, event) in (1..).zip(GuestEvent::ALL) {
            assert_eq!(counted.get(name(event)), Some(&times), "{event:?}");
        }
        counts.clear();
        assert!(counts.counters().values().all(|count| *count == 0));
    }
}
