//! What the guest and the devices count, next to each other.

use vcpu_state::Word;
use vmm::control::{Counters, VmmControl};

use super::{HOT, SPARE, VCPUS};
use crate::embedded::driver::{DriverVm, Results};

/// Counts of what the activator does for a vCPU that waits for it. It goes on with what it has begun while the VM is
/// paused, and the guest learns of it when it goes on, too.
const OF_THE_ACTIVATOR: [&str; 2] = ["activations", "resets"];

/// Who storms what, and what the devices had counted before.
pub struct Account {
    before: Counters,
    stormed: Vec<(usize, String)>,
}

/// Everything that may not move.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    progress: [u64; VCPUS],
    results: [Results; VCPUS],
    words: Vec<Word>,
    counters: Counters,
}

impl Account {
    pub fn of(guest: &DriverVm) -> Self {
        Self { before: guest.vm.vmm.counters().unwrap(), stormed: Vec::new() }
    }

    /// The device `id` is this vCPU's from now on.
    pub fn follow(&mut self, vcpu: usize, id: &str) {
        self.stormed.push((vcpu, id.to_owned()));
    }

    /// Whether every device has been activated by its vCPU several times.
    pub fn all_activated(&self, guest: &DriverVm) -> bool {
        self.stormed.iter().all(|(vcpu, _)| guest.results(*vcpu)[1] >= 3)
    }

    /// While the VM is paused: the device is at most one activation ahead of its vCPU.
    pub fn check(&self, guest: &DriverVm) {
        self.compare(guest, 1);
    }

    /// While no command is carried out: they agree.
    pub fn settle(&self, guest: &DriverVm) {
        self.compare(guest, 0);
    }

    fn compare(&self, guest: &DriverVm, ahead: u64) {
        let counters = guest.vm.vmm.counters().unwrap();
        let of = |counters: &Counters, id: &str| {
            counters.get(id).and_then(|counts| counts.get("activations")).copied()
        };
        for (vcpu, id) in &self.stormed {
            // One that has been ejected counts no more.
            let Some(now) = of(&counters, id) else { continue };
            let device = now - of(&self.before, id).unwrap_or(0);
            let counted = guest.results(*vcpu)[1];
            assert!(
                (counted..=counted + ahead).contains(&device),
                "{id} counts {device} activations, vCPU {vcpu} {counted}: {:?}",
                guest.results(*vcpu)
            );
        }
    }
}

impl Look {
    pub fn at(guest: &DriverVm) -> Self {
        let mut counters = guest.vm.vmm.counters().unwrap();
        for counts in counters.values_mut() {
            counts.retain(|name, _| !OF_THE_ACTIVATOR.contains(&name.as_str()));
        }
        Self {
            progress: std::array::from_fn(|vcpu| guest.progress(vcpu)),
            results: std::array::from_fn(|vcpu| guest.results(vcpu)),
            words: guest.vm.vmm.group().unwrap().words().collect(),
            counters,
        }
    }

    /// Whether a vCPU was stopped in the wait for an activation or a reset.
    pub fn is_somebody_parked(&self) -> bool {
        self.words.iter().any(|word| word.any(Word::ACTIVATION_PENDING))
    }

    /// A device that the guest has ejected before the pause may be taken apart in it.
    pub fn must_be(mut self, other: &Self, state: impl FnOnce() -> String) {
        for ejected in [HOT, SPARE] {
            if !other.counters.contains_key(ejected) {
                self.counters.remove(ejected);
            }
        }
        assert!(self == *other, "moved during a pause: {self:#?}\n{other:#?}\n{}", state());
    }
}
