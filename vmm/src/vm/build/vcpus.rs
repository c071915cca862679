//! Making the vCPUs and their threads, all parked.

use std::panic::resume_unwind;
use std::thread::Builder;

use crossbeam_queue::SegQueue;
use kvm_bindings::Msrs;
use kvm_ioctls::{VcpuFd, VmFd};
use vcpu_state::sync::Arc;
use vcpu_state::sync::atomic::{AtomicU32, Ordering};

use super::BuildError;
use crate::boot::{self, ApicMode, Entry};
use crate::cpuid::{MsiDestination, Template};
use crate::vcpu::{Identity, Startup, Vcpu, VcpuThread};
use crate::vm::Vm;
use crate::vm::kvm::KvmError;
use crate::vm::state::processors;
use crate::vm::threads::Home;

/// What vCPUs are made from.
pub(in crate::vm) struct Plan {
    pub(super) template: Template,
    /// Where the first vCPU begins; nowhere if they all get another VM's registers.
    pub(super) entry: Option<Entry>,
    /// The model-specific registers that every vCPU starts with.
    pub(super) msrs: Arc<Msrs>,
    /// vCPUs of the start; others may come.
    pub(super) boot_vcpus: u32,
    /// Bits of a physical address.
    pub(super) address_bits: u8,
    /// How many bits of an APIC id an MSI carries.
    pub(super) msi: MsiDestination,
}

impl Plan {
    /// vCPUs of the start.
    pub(in crate::vm) fn boot_vcpus(&self) -> u32 {
        self.boot_vcpus
    }

    /// What CPUID tells.
    pub(in crate::vm) fn template(&self) -> &Template {
        &self.template
    }

    /// vCPUs are told this from now on.
    pub(in crate::vm) fn tell(&mut self, template: Template) {
        self.template = template;
    }

    /// Tells a vCPU anew which processor it is, before it runs for the first time.
    ///
    /// # Errors
    /// KVM does not take it.
    pub(in crate::vm) fn tell_identity(&self, fd: &VcpuFd, index: u32) -> Result<(), BuildError> {
        let cpuid = self.template.for_vcpu(index)?;
        Ok(fd.set_cpuid2(&cpuid).map_err(KvmError::of("KVM_SET_CPUID2"))?)
    }

    /// Bits of a physical address.
    pub(in crate::vm) fn address_bits(&self) -> u8 {
        self.address_bits
    }

    /// How many bits of an APIC id an MSI carries.
    pub(in crate::vm) fn msi(&self) -> MsiDestination {
        self.msi
    }

    /// Makes one vCPU, without a thread.
    ///
    /// # Errors
    /// KVM refuses.
    pub(in crate::vm) fn make(&self, kvm: &VmFd, index: u32) -> Result<Vcpu, BuildError> {
        let id = self.template.topology().apic_id(index)?;
        let fd =
            kvm.create_vcpu(u64::from(id.0)).map_err(KvmError::of_vcpu_file("KVM_CREATE_VCPU"))?;
        let identity = set_up(self, &fd, index)?;
        Ok(Vcpu::new(kvm, fd, identity)?)
    }
}

/// Starts every vCPU of a held VM; on an error, dropping the VM ends those that were started.
///
/// Making vCPUs is most of what the start of a large VM takes, and KVM serialises little of it: as many
/// threads as the host has processors make them. More would only wait for each other.
pub(super) fn start(vm: &mut Vm) -> Result<(), BuildError> {
    let boot_vcpus = vm.cpus.plan().boot_vcpus as usize;
    // Asking for the host's processors takes a dozen system calls.
    let host = if boot_vcpus == 1 { 1 } else { processors() };
    let works =
        Works { vm, startup: Startup::new(), next: AtomicU32::new(0), threads: SegQueue::new() };
    let made = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..host.min(boot_vcpus))
            // One that cannot be started leaves its work to the others.
            .filter_map(|_| {
                let works = &works;
                Builder::new().spawn_scoped(scope, move || works.work()).ok()
            })
            .collect();
        let made = works.work();
        helpers
            .into_iter()
            .map(|helper| helper.join().unwrap_or_else(|payload| resume_unwind(payload)))
            .fold(made, Result::and)
    });
    let Works { startup, threads, .. } = works;
    // Those that were started belong to the VM even when another could not be: it ends and joins them.
    for (index, thread) in threads {
        vm.threads.seat(index, thread);
    }
    made.and_then(|()| startup.wait())
}

/// What the threads share that make vCPUs.
struct Works<'a> {
    vm: &'a Vm,
    startup: Arc<Startup<BuildError>>,
    /// The vCPU that is made next.
    next: AtomicU32,
    threads: SegQueue<(u32, VcpuThread)>,
}

impl Works<'_> {
    /// Makes vCPUs until there is none left to make. An error ends the work of all.
    fn work(&self) -> Result<(), BuildError> {
        let boot_vcpus = self.vm.cpus.plan().boot_vcpus;
        loop {
            // Relaxed: it hands out numbers and publishes nothing.
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= boot_vcpus {
                return Ok(());
            }
            if let Err(error) = self.make(index) {
                self.next.store(boot_vcpus, Ordering::Relaxed);
                return Err(error);
            }
        }
    }

    fn make(&self, index: u32) -> Result<(), BuildError> {
        let vcpu = self.vm.cpus.plan().make(&self.vm.kvm, index)?;
        let home = Home { group: &self.vm.group, machine: &self.vm.machine };
        let arrival = self.startup.expect();
        let thread = self.vm.threads.start(home, index, vcpu, arrival);
        self.threads.push((index, thread.map_err(|(error, _)| error)?));
        Ok(())
    }
}

/// Sets the vCPU up, as far as its own thread does not have to do it.
fn set_up(plan: &Plan, fd: &VcpuFd, index: u32) -> Result<Identity, BuildError> {
    let Plan { template, entry, msrs, .. } = plan;
    let identity = Identity::new(template.for_vcpu(index)?, Arc::clone(msrs));
    let apic_mode = ApicMode::needed_by(template.topology());
    let Some(entry) = entry else {
        // A restore finds that done, which may take long, and sets all the rest.
        identity.tell_once(fd)?;
        return Ok(identity);
    };
    if index == 0 {
        // The first one shows at once whether KVM takes it.
        identity.tell_once(fd)?;
        set_up_first(entry, fd, apic_mode)?;
    } else if apic_mode == ApicMode::X2apic {
        // The mode needs the CPUID table, and an INIT for an id over 254 needs the mode. All else that
        // could be set, the INIT resets.
        identity.tell_once(fd)?;
        let mut sregs = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
        apic_mode.apply(&mut sregs);
        fd.set_sregs(&sregs).map_err(KvmError::of("KVM_SET_SREGS"))?;
    }
    Ok(identity)
}

fn set_up_first(entry: &Entry, fd: &VcpuFd, apic_mode: ApicMode) -> Result<(), BuildError> {
    let mut reset = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
    apic_mode.apply(&mut reset);
    fd.set_sregs(&entry.sregs(reset)).map_err(KvmError::of("KVM_SET_SREGS"))?;
    fd.set_fpu(&boot::fpu()).map_err(KvmError::of("KVM_SET_FPU"))?;
    let mut lapic = fd.get_lapic().map_err(KvmError::of("KVM_GET_LAPIC"))?;
    boot::wire_lint1(&mut lapic);
    fd.set_lapic(&lapic).map_err(KvmError::of("KVM_SET_LAPIC"))?;
    Ok(fd.set_regs(&entry.regs()).map_err(KvmError::of("KVM_SET_REGS"))?)
}
