//! The vCPUs of a VM as they come and go for its guest.
//!
//! ```text
//!   grow:    KVM vCPU, thread ─▶ controller: Inserting ─▶ GED ─▶ the guest brings it up (INIT, SIPI)
//!   shrink:  controller: Removing ─▶ GED ─▶ the guest lets go ─▶ EJECT ─▶ inbox ─▶ kill, join, reset ─▶ controller: Absent
//!   cancel:  controller: Removing ─▶ Present; what the guest ejects nevertheless comes back once
//! ```
//!
//! A guest that has heard that a vCPU is to go may eject it after that was taken back. The vCPU is plugged in again then, by a new thread.
//! One that the guest ejects of its own accord stays away until the next resize.
//!
//! Invariants: a vCPU is visible only while its slot has a thread, or the thread is being replaced; a slot is vacant for the
//! controller only after its thread was joined; nothing here waits for the guest.

use std::collections::BTreeSet;

use devices::CounterSource;
use devices::bus::AddressRange;
use devices::cpu_hotplug::{CpuHotplugController, EjectedSink, Heard, Presence};
use devices::ged::GedEvent;
use vcpu_state::sync::Arc;

use super::build::{BuildError, Plan};
use super::machine::Counted;
use super::threads::{Home, SeatError};
use super::{Machine, Vm};
use crate::control::Inbox;
use crate::cpuid::Template;
use crate::memory::layout;

/// What vCPUs that come are made from, and what the guest has been told.
pub(super) struct Cpus {
    controller: Arc<CpuHotplugController>,
    plan: Plan,
    /// Asked for, and then not, when the guest had heard of it.
    returning: BTreeSet<u32>,
    max_vcpus: u32,
}

/// The number of vCPUs cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// The guest still has vCPUs that it was asked for.
    #[error(
        "the guest has not let go of {} yet; a resize to {cancel} or more takes the removal back",
        those(leaving)
    )]
    Pending {
        /// Those.
        leaving: Vec<u32>,
        /// The least number of vCPUs that has them all.
        cancel: u32,
    },
    /// A vCPU could not be made, or its thread.
    #[error("no new vCPU: {0}")]
    Seat(#[from] SeatError),
}

fn those(leaving: &[u32]) -> String {
    let numbers: Vec<_> = leaving.iter().map(u32::to_string).collect();
    format!("vCPU {}", numbers.join(", "))
}

/// A change of the number of vCPUs of which all that can fail has been done.
#[derive(Debug, Default)]
#[must_use = "it is to be committed or abandoned"]
pub struct VcpuChange {
    /// They have their threads, and are to be shown to the guest.
    coming: Vec<u32>,
    /// The guest is to be asked for them.
    leaving: Vec<u32>,
    /// It is not to be asked for them any longer.
    staying: Vec<u32>,
}

/// Has the owner of the VM look.
struct Looks(Arc<Inbox>);

impl EjectedSink for Looks {
    fn ejected(&self) {
        self.0.wake();
    }
}

impl Cpus {
    /// Puts the registers on the machine's bus.
    ///
    /// # Errors
    /// Their place is taken.
    pub(super) fn new(
        machine: &Machine,
        plan: Plan,
        max_vcpus: u32,
        inbox: &Arc<Inbox>,
    ) -> Result<Self, BuildError> {
        let refused = |error: &dyn std::fmt::Display| BuildError::Device {
            device: "CPU hotplug registers",
            reason: error.to_string(),
        };
        let looks = Arc::new(Looks(Arc::clone(inbox)));
        let controller =
            Arc::new(CpuHotplugController::new(plan.boot_vcpus(), max_vcpus, looks as _));
        let place = AddressRange::new(layout::CPU_HOTPLUG.0, CpuHotplugController::LEN);
        machine
            .mmio
            .publish(place.map_err(|error| refused(&error))?, Arc::clone(&controller) as _)
            .map_err(|error| refused(&error))?;
        Ok(Self { controller, plan, returning: BTreeSet::new(), max_vcpus })
    }

    /// What vCPUs are made from.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// vCPUs are told this from now on.
    pub(super) fn tell(&mut self, template: Template) {
        self.plan.tell(template);
    }

    /// How many there can be.
    pub(super) fn max_vcpus(&self) -> u32 {
        self.max_vcpus
    }

    /// Those that come back when the guest ejects them.
    pub(super) fn returning(&self) -> impl Iterator<Item = u32> {
        self.returning.iter().copied()
    }

    /// Those are to come back when the guest ejects them.
    pub(super) fn set_returning(&mut self, vcpus: Vec<u32>) {
        self.returning = vcpus.into_iter().collect();
    }

    /// Whether the guest could have this vCPU, and has not.
    pub(super) fn is_unplugged(&self, vcpu: u32) -> bool {
        vcpu < self.max_vcpus && !self.has(vcpu)
    }

    /// The vCPUs that the guest has. What comes later gets nothing that was meant for these.
    pub(super) fn plugged(&self) -> impl Iterator<Item = u32> {
        (0..self.max_vcpus).filter(|vcpu| self.has(*vcpu))
    }

    fn has(&self, vcpu: u32) -> bool {
        !matches!(self.controller.presence(vcpu), Presence::Absent | Presence::Ejected)
    }

    /// What counts, by its name in `vm.counters`.
    pub(super) fn counted(&self) -> Counted {
        ("cpu_hotplug".to_owned(), Arc::clone(&self.controller) as Arc<dyn CounterSource>)
    }

    fn where_it_is(&self, presence: &[Presence]) -> Vec<u32> {
        let is_one = |vcpu: &u32| presence.contains(&self.controller.presence(*vcpu));
        (0..self.max_vcpus).filter(is_one).collect()
    }
}

impl Vm {
    /// The registers through which the guest learns of vCPUs.
    pub fn cpu_hotplug(&self) -> &Arc<CpuHotplugController> {
        &self.cpus.controller
    }

    /// Gets the VM ready to have `desired` vCPUs, those with the lowest numbers, where it was to have `current`. `desired` is at least 1 and at most
    /// what the VM was made for. The guest sees nothing yet.
    ///
    /// # Errors
    /// The guest has not let go of vCPUs that it was asked for, and `desired` is neither `current` nor takes all of them back; or the host
    /// has no room for another vCPU. Nothing has changed then.
    pub fn prepare_vcpus(&mut self, current: u32, desired: u32) -> Result<VcpuChange, ResizeError> {
        self.retire_ejected();
        let pending = self.cpus.where_it_is(&[Presence::Removing]);
        let (leaving, staying) = match pending.last() {
            Some(_) if desired == current => (Vec::new(), Vec::new()),
            Some(last) if desired > *last => (Vec::new(), pending),
            Some(last) => {
                let cancel = last + 1;
                return Err(ResizeError::Pending { leaving: pending, cancel });
            }
            None => {
                let there = self.cpus.where_it_is(&[Presence::Inserting, Presence::Present]);
                (there.into_iter().filter(|vcpu| *vcpu >= desired).collect(), Vec::new())
            }
        };
        let mut change = VcpuChange { coming: Vec::new(), leaving, staying };
        for vcpu in self.cpus.where_it_is(&[Presence::Absent]) {
            if vcpu >= desired {
                break;
            }
            if let Err(error) = self.plug_vcpu(vcpu) {
                self.abandon_vcpus(change);
                return Err(error.into());
            }
            change.coming.push(vcpu);
        }
        Ok(change)
    }

    /// Carries a change out: from here on it is the guest's to follow.
    pub fn commit_vcpus(&mut self, change: VcpuChange) {
        let VcpuChange { coming, leaving, staying } = change;
        for vcpu in staying {
            // Ejected in this moment, or heard of: it comes back when it goes.
            if self.cpus.controller.cancel_removal(vcpu) != Ok(Heard::No) {
                self.cpus.returning.insert(vcpu);
            }
        }
        let is_news = !coming.is_empty() || !leaving.is_empty();
        for vcpu in coming {
            self.show_vcpu(vcpu);
        }
        for vcpu in leaving {
            self.cpus.returning.remove(&vcpu);
            // Fails for one that the guest has ejected in this moment, which is what was wanted.
            let _ = self.cpus.controller.ask_removal(vcpu);
        }
        if is_news {
            self.root.tell(GedEvent::CpuHotplug);
        }
    }

    /// Takes back what was prepared.
    pub fn abandon_vcpus(&mut self, change: VcpuChange) {
        for vcpu in change.coming {
            if let Err(error) = self.threads.retire(&self.group, vcpu) {
                tracing::warn!("vCPU {vcpu}: {error}");
            }
        }
    }

    /// Ends the threads of vCPUs that the guest has ejected. Every request asks this, so it costs nothing when there is none.
    pub fn retire_ejected(&mut self) {
        for vcpu in self.cpus.controller.take_ejected() {
            tracing::info!("the guest has ejected vCPU {vcpu}");
            if let Err(error) = self.threads.retire(&self.group, vcpu) {
                // The slot stays ejected: nobody uses it again.
                tracing::warn!("vCPU {vcpu}: {error}");
                continue;
            }
            // Cannot fail: it is ejected, and only this thread ends that.
            let _ = self.cpus.controller.vacate(vcpu);
            if self.cpus.returning.remove(&vcpu) {
                match self.plug_vcpu(vcpu) {
                    Ok(()) => {
                        self.show_vcpu(vcpu);
                        self.root.tell(GedEvent::CpuHotplug);
                    }
                    Err(error) => tracing::warn!("vCPU {vcpu} does not come back: {error}"),
                }
            }
        }
    }

    fn plug_vcpu(&mut self, vcpu: u32) -> Result<(), SeatError> {
        let Self { threads, group, machine, cpus, kvm, .. } = self;
        threads.plug(Home { group, machine }, vcpu, || {
            let mut made = cpus.plan.make(kvm, vcpu)?;
            // KVM's map of APICs lacks the vCPU that was made last until something has it drawn again, and the INIT of a guest
            // would go nowhere (kvm_recalculate_apic_map in arch/x86/kvm/lapic.c). Setting the local APIC does.
            made.reset()?;
            Ok(made)
        })
    }

    fn show_vcpu(&self, vcpu: u32) {
        // Cannot fail: its slot was vacant, and only this thread fills one.
        let _ = self.cpus.controller.insert(vcpu);
    }
}
