//! What anybody may read about the VM at any time, without asking the control thread: so that
//! `vm.info` and `vm.counters` answer while a pause waits or a boot takes its time.

use std::collections::BTreeMap;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use devices::CounterSource;
use devices::cpu_hotplug::{CpuHotplugController, Presence};
use devices::virtio::mem::MemDevice;
use vcpu_state::Group;
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU64, Ordering};

use super::guest_counts::GuestCounts;
use super::phase::{AtomicPhase, Phase};
use super::{
    ControlError, Counters, EndAsked, Ends, MemoryHotplugInfo, PciBdf, VcpuHotplug, VcpuInfo,
    VmInfo, device_tree,
};
use crate::config::VmConfig;
use crate::consoles::Consoles;
use crate::migration::Transfer;
use crate::vm::{LiveMemory, Machine, Stillness};

/// Published by the control thread, read by everybody.
pub(super) struct Published {
    pub(super) phase: AtomicPhase,
    pub(super) config: ArcSwapOption<VmConfig>,
    pub(super) live: ArcSwapOption<Live>,
    pub(super) last_error: ArcSwapOption<String>,
    pub(super) last_pause: Latency,
    pub(super) last_resume: Latency,
    pub(super) boot: Latency,
    pub(super) consoles: ArcSwapOption<Consoles>,
    /// Where the guest finds its devices, by their ids.
    pub(super) places: ArcSwapOption<BTreeMap<String, PciBdf>>,
    /// What guests have done by themselves.
    pub(super) guest: GuestCounts,
    /// The transfer that is under way, or the last one.
    pub(super) transfer: ArcSwapOption<Transfer>,
    /// Ends that are asked for.
    pub(super) ends: Arc<Ends>,
    name: Option<String>,
}

/// The VM that exists now.
pub(super) struct Live {
    pub(super) machine: Arc<Machine>,
    pub(super) group: Arc<Group>,
    pub(super) cpus: Arc<CpuHotplugController>,
    pub(super) stillness: Stillness,
    pub(super) pages: LiveMemory,
    /// What memory is plugged through, if any can be.
    pub(super) memory: Option<Arc<MemDevice>>,
}

impl Live {
    /// The vCPUs that the guest has, or of which something is left.
    fn vcpus(&self) -> impl Iterator<Item = VcpuInfo> {
        self.group.words().zip(0..).filter_map(|(word, index)| {
            let hotplug = match self.cpus.presence(index) {
                Presence::Absent => return None,
                Presence::Inserting => Some(VcpuHotplug::Inserting),
                Presence::Present => None,
                Presence::Removing => Some(VcpuHotplug::Removing),
                Presence::Ejected => Some(VcpuHotplug::Ejected),
            };
            Some(VcpuInfo { index, word: word.bits(), state: word.to_string(), hotplug })
        })
    }
}

/// A duration in microseconds, or none yet.
pub(super) struct Latency(AtomicU64);

impl Latency {
    const NONE: u64 = u64::MAX;

    fn none() -> Self {
        Self(AtomicU64::new(Self::NONE))
    }

    pub(super) fn set(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(Self::NONE - 1);
        // Relaxed: a number for people; it orders nothing.
        self.0.store(micros, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(Self::NONE, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|micros| *micros != Self::NONE)
    }
}

impl Published {
    pub(super) fn new(name: Option<String>) -> Self {
        Self {
            phase: AtomicPhase::new(Phase::NotCreated),
            config: ArcSwapOption::empty(),
            live: ArcSwapOption::empty(),
            last_error: ArcSwapOption::empty(),
            last_pause: Latency::none(),
            last_resume: Latency::none(),
            boot: Latency::none(),
            consoles: ArcSwapOption::empty(),
            places: ArcSwapOption::empty(),
            guest: GuestCounts::default(),
            transfer: ArcSwapOption::empty(),
            ends: Arc::default(),
            name,
        }
    }

    /// The VM's end is asked for: a pause that may last comes back. From any thread; it waits for nothing.
    pub(super) fn ask_end(&self) -> EndAsked {
        let asked = self.ends.ask();
        // A VM that is published later is paused by somebody who finds what is asked (`Ends`).
        if let Some(live) = self.live.load().as_ref() {
            live.stillness.remind();
        }
        asked
    }

    /// The phase now.
    pub(super) fn phase(&self) -> Phase {
        // Acquire: pairs with `AtomicPhase::advance`.
        self.phase.load(Ordering::Acquire)
    }

    pub(super) fn info(&self) -> Result<VmInfo, ControlError> {
        let state = self.phase().state().ok_or(ControlError::NotCreated)?;
        let config = self.config.load_full().ok_or(ControlError::NotCreated)?;
        let live = self.live.load();
        let vcpus = live.iter().flat_map(|live| live.vcpus());
        let memory = live.as_ref().and_then(|live| live.memory.as_ref());
        let plugged_size = memory.map_or(0, |memory| memory.plugged());
        let memory_hotplug = (config.memory.hotplug() > 0)
            .then(|| MemoryHotplugInfo { requested_size: config.memory.requested(), plugged_size });
        Ok(VmInfo {
            state,
            device_tree: match self.places.load().as_deref() {
                Some(places) => device_tree(&config, places),
                None => device_tree(&config, &BTreeMap::new()),
            },
            memory_actual_size: config.memory.boot_size() + plugged_size,
            memory_missing_bytes: live
                .as_ref()
                .map(|live| live.machine.ram.missing_bytes())
                .filter(|bytes| *bytes > 0),
            memory_hotplug,
            name: self.name.clone(),
            last_error: self.last_error.load().as_deref().cloned(),
            vcpus: vcpus.collect(),
            last_pause_us: self.last_pause.get(),
            last_resume_us: self.last_resume.get(),
            boot_us: self.boot.get(),
            pid: std::process::id(),
            config: (*config).clone(),
        })
    }

    pub(super) fn counters(&self) -> Result<Counters, ControlError> {
        self.phase().state().ok_or(ControlError::NotCreated)?;
        let mut counters = Counters::from([("guest".to_owned(), self.guest.counters())]);
        if let Some(consoles) = self.consoles.load().as_ref() {
            counters.extend(consoles.counters().map(|(name, list)| group(name, list)));
        }
        if let Some(live) = self.live.load().as_ref() {
            let machine = &live.machine;
            counters.extend([
                group("exits", machine.exits.totals()),
                group("pio", machine.pio.counters()),
                group("mmio", machine.mmio.counters()),
            ]);
            let devices = machine.devices.load();
            counters.extend(devices.iter().map(|(name, device)| group(name, device.counters())));
        }
        Ok(counters)
    }
}

fn group(
    name: &str,
    counters: impl IntoIterator<Item = (&'static str, u64)>,
) -> (String, BTreeMap<String, u64>) {
    let counters = counters.into_iter().map(|(name, value)| (name.to_owned(), value));
    (name.to_owned(), counters.collect())
}
