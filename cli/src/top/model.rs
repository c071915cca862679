//! What `top` knows: the last look at the VM, and how the counters changed since the one before.
use std::collections::BTreeMap;
use std::time::Instant;

use vmm::control::{Counters, VmInfo};

/// One look at the VM.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// `vm.info`.
    pub info: VmInfo,
    /// `vm.counters`.
    pub counters: Counters,
}

/// Everything that is shown.
#[derive(Debug)]
pub struct Model {
    /// The VM's name.
    pub name: String,
    /// The last look, if there was one.
    pub sample: Option<Sample>,
    /// Exits of all vCPUs by kind: in all, and per second of late.
    pub exits: Vec<(String, u64, f64)>,
    /// What the last key did.
    pub message: Option<String>,
    /// Why the last look failed, if it did.
    pub trouble: Option<String>,
    /// The first vCPU that is shown.
    pub top_vcpu: usize,
    has_ended: bool,
}

impl Model {
    /// Without a look yet.
    pub fn new(name: String) -> Self {
        Self {
            name,
            sample: None,
            exits: Vec::new(),
            message: None,
            trouble: None,
            top_vcpu: 0,
            has_ended: false,
        }
    }

    /// Takes a new look in.
    pub fn add(&mut self, sample: Sample) {
        let now = exits(&sample.counters);
        let (before, seconds) = match &self.sample {
            Some(last) => (exits(&last.counters), (sample.at - last.at).as_secs_f64()),
            None => (BTreeMap::new(), 0.0),
        };
        let rate = |kind: &str, total: u64| {
            let is_new = before.is_empty() || seconds <= 0.0;
            let since = total.saturating_sub(before.get(kind).copied().unwrap_or(0));
            if is_new { 0.0 } else { per_second(since, seconds) }
        };
        self.exits = now
            .into_iter()
            .map(|(kind, total)| {
                let rate = rate(&kind, total);
                (kind, total, rate)
            })
            .collect();
        self.sample = Some(sample);
        self.trouble = None;
    }

    /// The VMM is gone.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// Whether it is.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Moves the table of vCPUs; the view keeps it in range.
    pub fn scroll(&mut self, lines: isize) {
        self.top_vcpu = self.top_vcpu.saturating_add_signed(lines);
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// Exits by kind, summed over all groups: every counter of the group `exits`, and every counter
/// named `exits_KIND` of any group.
fn exits(counters: &Counters) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for (group, members) in counters {
        for (name, value) in members {
            let kind = match name.strip_prefix("exits_") {
                Some(kind) => kind,
                None if group == "exits" => name,
                None => continue,
            };
            let total: &mut u64 = kinds.entry(kind.to_owned()).or_default();
            *total = total.saturating_add(*value);
        }
    }
    kinds
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use vmm::config::VmConfig;
    use vmm::control::{VcpuInfo, VmState};

    use super::*;

    pub fn sample(at: Instant, vcpus: u32, hlt: u64) -> Sample {
        let group = |hlt| BTreeMap::from([("exits_hlt".to_owned(), hlt), ("kicks".to_owned(), 5)]);
        Sample {
            at,
            info: VmInfo {
                device_tree: vmm::control::DeviceTree::new(),
                config: VmConfig::default(),
                state: VmState::Running,
                memory_actual_size: 512 << 20,
                memory_missing_bytes: None,
                memory_hotplug: None,
                name: None,
                last_error: None,
                vcpus: (0..vcpus)
                    .map(|index| VcpuInfo {
                        index,
                        word: 3,
                        state: format!("RUN epoch={index}"),
                        hotplug: None,
                    })
                    .collect(),
                last_pause_us: Some(312),
                last_resume_us: Some(98),
                boot_us: Some(5100),
                pid: 4711,
            },
            counters: BTreeMap::from([
                ("vcpu0".to_owned(), group(hlt)),
                ("vcpu1".to_owned(), group(hlt)),
                ("exits".to_owned(), BTreeMap::from([("io_in".to_owned(), 3)])),
            ]),
        }
    }

    #[test]
    fn rates_come_from_two_looks() {
        let start = Instant::now();
        let mut model = Model::new("web".to_owned());
        model.add(sample(start, 2, 100));
        assert_eq!(model.exits, [("hlt".to_owned(), 200, 0.0), ("io_in".to_owned(), 3, 0.0)]);
        model.add(sample(start + Duration::from_millis(500), 2, 150));
        assert_eq!(model.exits[0], ("hlt".to_owned(), 300, 200.0));
        // A reboot resets the counters: no rate below zero.
        model.add(sample(start + Duration::from_secs(1), 2, 10));
        assert_eq!(model.exits[0], ("hlt".to_owned(), 20, 0.0));
    }
}
