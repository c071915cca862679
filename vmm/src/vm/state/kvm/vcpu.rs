//! A vCPU as it is saved.
//!
//! ```text
//!   save:     MP state ─▶ events ─▶ registers ─▶ system registers ─▶ XCRs, XSAVE ─▶ debug registers ─▶ nested ─▶ MSRs ─▶ local APIC ─▶ (timer fired? again)
//!   restore:  (CPUID, frequency) ─▶ system registers ─▶ nested ─▶ XCRs, XSAVE ─▶ registers ─▶ debug registers ─▶ local APIC ─▶ MSRs ─▶ events ─▶ MP state
//! ```
//!
//! Why in that order: KVM_GET_MP_STATE carries out an INIT or SIPI that has arrived, which changes nearly all else. What is pending as an exception may be put
//! into CR2 and DR6 when KVM tells of it. A timer that fires while it is being saved is in the deadline or in the local APIC, never in neither. The local
//! APIC's registers have the form that the APIC base in the system registers says, and its timer the mode that the deadline needs; the
//! system registers bring an interrupt under way, too, over which the events have the last word; the MP state ends what a vCPU waits for.
//!
//! Invariant: it is read while it stands still, so no exit is left to complete: the result of the last one is in the registers.

use kvm_bindings::{kvm_mp_state, kvm_xcr, kvm_xcrs};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use migration::format::Unit;
use serde::{Deserialize, Serialize};

use super::clock::Elapsed;
use super::fpu::{Fpu, FpuForm};
use super::lapic::Lapic;
use super::mirror::Mirror;
use super::msrs::{self, Msr, MsrIndices};
use super::nested::Nested;
use super::refusal::Refusal;
use super::registers::{Debug, Events, Regs, Sregs, Xcr};
use super::reset::Reset;
use super::tsc::Tsc;
use crate::vm::KvmError;

/// All of a vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VcpuUnit {
    mp_state: u32,
    events: Events,
    regs: Regs,
    sregs: Sregs,
    /// None where KVM does not tell them.
    xcrs: Vec<Xcr>,
    fpu: Fpu,
    debug: Option<Debug>,
    /// None where KVM has no nested guests.
    nested: Option<Nested>,
    msrs: Vec<Msr>,
    tsc: Tsc,
    lapic: Lapic,
    pub(super) owed: Owed,
}

/// What its lifecycle word says that it is yet to get or to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owed {
    /// An NMI was asked for, and not injected yet.
    pub(super) nmi: bool,
    /// A register write of its has left work that it waits for before it enters the guest.
    pub(super) work: bool,
}

impl Unit for VcpuUnit {
    const KIND: &'static str = "vcpu";
    const VERSION: u16 = 1;
}

/// What the host's KVM tells of vCPUs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forms {
    pub(super) fpu: FpuForm,
    pub(super) has_xcrs: bool,
    has_debug: bool,
    pub(super) has_nested: bool,
}

impl Forms {
    /// Asks it.
    pub(super) fn of(vm: &VmFd) -> Self {
        Self {
            fpu: FpuForm::of(vm),
            has_xcrs: vm.check_extension(Cap::Xcrs),
            has_debug: vm.check_extension(Cap::Debugregs),
            has_nested: Nested::is_there(vm),
        }
    }
}

impl VcpuUnit {
    /// Reads it.
    pub(super) fn get(
        fd: &VcpuFd,
        forms: Forms,
        indices: &MsrIndices,
        owed: Owed,
    ) -> Result<Self, KvmError> {
        let mp_state = fd.get_mp_state().map_err(KvmError::of("KVM_GET_MP_STATE"))?.mp_state;
        let events = get_events(fd)?;
        let regs = fd.get_regs().map_err(KvmError::of("KVM_GET_REGS"))?;
        let sregs = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
        let xcrs = if forms.has_xcrs { get_xcrs(fd)? } else { Vec::new() };
        let fpu = Fpu::get(fd, forms.fpu)?;
        let debug = get_debug(fd, forms)?;
        let nested = forms.has_nested.then(|| Nested::get(fd)).transpose()?;
        let mut msrs = indices.get(fd)?;
        let mut tsc = Tsc::take(&mut msrs);
        let mut lapic = get_lapic(fd)?;
        if tsc.has_fired(fd)? {
            // It cannot fire again: nobody arms it.
            lapic = get_lapic(fd)?;
        }
        Ok(Self {
            mp_state,
            events,
            regs: Regs::of(&regs),
            sregs: Sregs::of(&sregs),
            xcrs,
            fpu,
            debug,
            nested,
            msrs,
            tsc,
            lapic,
            owed,
        })
    }

    /// What is not the same in another, but for what goes on with time.
    #[cfg(test)]
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let msrs = self.msrs.iter().zip(&other.msrs).filter(|(one, two)| one != two);
        let msrs = msrs.filter(|(one, _)| !msrs::RUNNING.contains(&one.index));
        let msrs = msrs.map(|(one, two)| format!("{one:x?} {two:x?}"));
        let same = [
            ("mp_state", self.mp_state == other.mp_state),
            ("events", self.events == other.events),
            ("regs", self.regs == other.regs),
            ("sregs", self.sregs == other.sregs),
            ("xcrs", self.xcrs == other.xcrs),
            ("fpu", self.fpu == other.fpu),
            ("debug", self.debug == other.debug),
            ("nested", self.nested == other.nested),
            ("number of msrs", self.msrs.len() == other.msrs.len()),
            ("lapic", self.lapic.clone().timeless() == other.lapic.clone().timeless()),
            ("owed", self.owed == other.owed),
        ];
        let others = same.into_iter().filter(|(_, same)| !same).map(|(name, _)| name.to_owned());
        others.chain(msrs).collect()
    }

    /// Has the VM's time-stamp counters agree with this vCPU's, before any vCPU is written.
    ///
    /// # Errors
    /// This host cannot.
    pub(super) fn lead(&self, fd: &VcpuFd, elapsed: Elapsed) -> Result<(), Refusal> {
        self.tsc.lead(fd, elapsed)
    }

    /// Writes it, but for what the vCPU has already according to `reset`.
    ///
    /// # Errors
    /// It is not a vCPU that this host's KVM can have.
    pub(super) fn set(
        &self,
        fd: &VcpuFd,
        (forms, reset): (Forms, Option<&Reset>),
        elapsed: Elapsed,
    ) -> Result<(), Refusal> {
        // A guest of its own that is under way is written into all the others.
        let reset = reset.filter(|reset| reset.nested == self.nested);
        let lapic = self.lapic.kvm().ok_or_else(|| unfit("its local APIC is incomplete"))?;
        fd.set_sregs(&self.sregs.kvm()).map_err(KvmError::of("KVM_SET_SREGS"))?;
        if let Some(nested) = &self.nested {
            self.set_nested(nested, fd, forms)?;
        }
        if forms.has_xcrs {
            if reset.is_none_or(|reset| reset.xcrs != self.xcrs) {
                set_xcrs(fd, &self.xcrs)?;
            }
        } else if !self.xcrs.is_empty() {
            return Err(unfit("it has extended control registers, and here there are none"));
        }
        if reset.is_none_or(|reset| reset.fpu != self.fpu) {
            self.fpu.set(fd, forms.fpu)?;
        }
        fd.set_regs(&self.regs.kvm()).map_err(KvmError::of("KVM_SET_REGS"))?;
        if let Some(debug) = &self.debug
            && reset.is_none_or(|reset| reset.debug != self.debug)
        {
            fd.set_debug_regs(&debug.kvm()).map_err(KvmError::of("KVM_SET_DEBUGREGS"))?;
        }
        fd.set_lapic(&lapic).map_err(KvmError::of("KVM_SET_LAPIC"))?;
        msrs::set(fd, &self.tsc.put(&self.msrs, elapsed))?;
        // The system registers may have brought an interrupt.
        let brings_none = self.sregs.interrupt_bitmap == [0; 4];
        if reset.is_none_or(|reset| reset.events != self.events || !brings_none) {
            fd.set_vcpu_events(&self.events.kvm()).map_err(KvmError::of("KVM_SET_VCPU_EVENTS"))?;
        }
        let mp_state = kvm_mp_state { mp_state: self.mp_state };
        Ok(fd.set_mp_state(mp_state).map_err(KvmError::of("KVM_SET_MP_STATE"))?)
    }

    /// Writes all of it into the vCPU that it has just been read of.
    pub(super) fn set_again(&self, fd: &VcpuFd, forms: Forms) -> Result<(), Refusal> {
        self.set(fd, (forms, None), Elapsed::none())
    }

    fn set_nested(&self, nested: &Nested, fd: &VcpuFd, forms: Forms) -> Result<(), Refusal> {
        if !forms.has_nested {
            return Err(unfit("it may have guests of its own, and here it cannot"));
        }
        if let Some(lock) = self.msrs.iter().find(|msr| msr.index == msrs::FEATURE_CONTROL) {
            msrs::set(fd, &[*lock])?;
        }
        nested.set(fd)
    }
}

fn unfit(reason: &str) -> Refusal {
    Refusal::Unfit(reason.to_owned())
}

fn get_lapic(fd: &VcpuFd) -> Result<Lapic, KvmError> {
    Ok(Lapic::of(&fd.get_lapic().map_err(KvmError::of("KVM_GET_LAPIC"))?))
}

pub(super) fn get_events(fd: &VcpuFd) -> Result<Events, KvmError> {
    let events = fd.get_vcpu_events().map_err(KvmError::of("KVM_GET_VCPU_EVENTS"))?;
    Ok(Events::of(&events))
}

pub(super) fn get_debug(fd: &VcpuFd, forms: Forms) -> Result<Option<Debug>, KvmError> {
    if !forms.has_debug {
        return Ok(None);
    }
    let debug = fd.get_debug_regs().map_err(KvmError::of("KVM_GET_DEBUGREGS"))?;
    Ok(Some(Debug::of(&debug)))
}

pub(super) fn get_xcrs(fd: &VcpuFd) -> Result<Vec<Xcr>, KvmError> {
    let kvm = fd.get_xcrs().map_err(KvmError::of("KVM_GET_XCRS"))?;
    Ok(kvm.xcrs.iter().take(kvm.nr_xcrs as usize).map(Xcr::of).collect())
}

fn set_xcrs(fd: &VcpuFd, xcrs: &[Xcr]) -> Result<(), Refusal> {
    let mut kvm = kvm_xcrs::default();
    if xcrs.len() > kvm.xcrs.len() {
        return Err(unfit("it has more extended control registers than there can be"));
    }
    for (place, xcr) in kvm.xcrs.iter_mut().zip(xcrs) {
        *place = kvm_xcr { ..xcr.kvm() };
        kvm.nr_xcrs += 1;
    }
    Ok(fd.set_xcrs(&kvm).map_err(KvmError::of("KVM_SET_XCRS"))?)
}
