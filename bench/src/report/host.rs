//! What it was measured on.

use std::time::Duration;

use serde::Serialize;

use crate::pace;

/// The machine, as far as it matters.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Release of the kernel.
    pub kernel: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// The CPU's name.
    pub cpu_model: String,
    /// How much of its CPU time others took before the measurement began, in percent.
    pub busy_percent: f64,
}

/// How long the machine is watched before.
const WATCH: Duration = Duration::from_millis(500);
/// From here on the figures say more about the others.
const BUSY_PERCENT: f64 = 5.0;

impl Host {
    /// This machine, after watching it for a moment. What can't be found out is empty or 0.
    pub fn this() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let before = read("/proc/stat");
        pace::pause_for(WATCH);
        let busy_percent = busy_percent(&before, &read("/proc/stat")).unwrap_or(0.0);
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cpu_model: model(&read("/proc/cpuinfo")),
            busy_percent,
        }
    }

    /// What is to be said about the figures because of the machine.
    pub fn warning(&self) -> Option<String> {
        (self.busy_percent > BUSY_PERCENT).then(|| {
            format!(
                "this machine is busy: others take {:.0} % of its CPU time, and these figures say more about them",
                self.busy_percent
            )
        })
    }
}

/// The part of the time between two readings of `/proc/stat` that was not idle (proc_stat(5)).
fn busy_percent(before: &str, after: &str) -> Option<f64> {
    let spent = |stat: &str| {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> = line.split_whitespace().map_while(|time| time.parse().ok()).collect();
        // idle and iowait; guest time, from the ninth on, is in user time already.
        Some((times.iter().take(8).sum::<u64>(), times.get(3)? + times.get(4)?))
    };
    let ((all_before, idle_before), (all, idle)) = (spent(before)?, spent(after)?);
    let passed = u32::try_from(all.checked_sub(all_before)?).ok()?;
    let idled = u32::try_from(idle.checked_sub(idle_before)?).ok()?;
    (passed > 0).then(|| 100.0 * (1.0 - f64::from(idled) / f64::from(passed)))
}

fn model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_not_idle() {
        let before = "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n";
        let after = "cpu  120 0 105 760 115 0 0 0 60 0\n";
        assert!((busy_percent(before, after).unwrap() - 25.0).abs() < 1e-9);
        for (before, after) in [(before, before), (after, before), ("", after), ("cpu x", after)] {
            assert_eq!(busy_percent(before, after), None);
        }
    }

    #[test]
    fn a_busy_machine_is_warned_about() {
        let host = |busy_percent| Host {
            kernel: String::new(),
            cpus: 2,
            cpu_model: String::new(),
            busy_percent,
        };
        assert_eq!(host(4.0).warning(), None);
        assert!(host(61.7).warning().unwrap().contains("others take 62 %"));
    }

    #[test]
    fn the_model_is_found() {
        assert_eq!(model("processor\t: 0\nmodel name\t: Some CPU\nflags : x\n"), "Some CPU");
        assert_eq!(model(""), "");
        assert!(Host::this().cpus > 0);
    }
}
