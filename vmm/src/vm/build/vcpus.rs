//! Making the vCPUs and their threads, all parked.

use kvm_bindings::Msrs;
use kvm_ioctls::VcpuFd;
use vcpu_state::sync::Arc;

use super::BuildError;
use super::affinity::pin;
use crate::boot::{self, ApicMode, Entry};
use crate::config::CpusConfig;
use crate::cpuid::Template;
use crate::vcpu::{self, End, SignalKick, Startup, VcpuParts};
use crate::vm::kvm::KvmError;
use crate::vm::{Machine, Vm};

/// What vCPUs are made from.
pub(super) struct Plan<'a> {
    pub(super) template: Template,
    pub(super) entry: Entry,
    pub(super) cpus: &'a CpusConfig,
    pub(super) kick: Arc<SignalKick>,
}

/// What every vCPU's thread needs to set its vCPU up.
struct SetUp {
    template: Template,
    entry: Entry,
}

/// Starts every vCPU of a held VM; on an error, dropping the VM ends those that were started.
///
/// Creating vCPUs is serialised by KVM, setting them up is not: so each thread sets its own up while
/// the next ones are being created.
pub(super) fn start(
    vm: &mut Vm,
    plan: Plan<'_>,
    ended: impl Fn(&Machine, usize, End) + Clone + Send + 'static,
) -> Result<(), BuildError> {
    let Plan { template, entry, cpus, kick } = plan;
    let shared = Arc::new(SetUp { template, entry });
    let startup = Startup::new();
    for index in 0..cpus.boot_vcpus {
        let Some(member) = vm.group.member(index as usize) else { continue };
        let host_cpus = cpus.affinity.iter().filter(|affinity| affinity.vcpu == index);
        let parts = VcpuParts {
            member,
            fd: create(vm, &shared, index)?,
            machine: Arc::clone(&vm.machine),
            kick: Arc::clone(&kick),
        };
        let host_cpus: Vec<_> = host_cpus.flat_map(|affinity| affinity.host_cpus.clone()).collect();
        let (shared, arrival) = (Arc::clone(&shared), startup.expect());
        let set_up = move |fd: &VcpuFd| {
            let result = pin(index, &host_cpus).and_then(|()| set_up(&shared, fd, index));
            let ready = result.is_ok();
            arrival.arrive(result);
            ready
        };
        let (ended, machine) = (ended.clone(), Arc::clone(&vm.machine));
        let thread = vcpu::spawn(parts, set_up, move |index, end| ended(&machine, index, end))?;
        vm.threads.push(thread);
    }
    startup.wait()
}

fn create(vm: &Vm, shared: &SetUp, index: u32) -> Result<VcpuFd, BuildError> {
    let id = shared.template.topology().apic_id(index)?;
    Ok(vm.kvm.create_vcpu(u64::from(id.0)).map_err(KvmError::of("KVM_CREATE_VCPU"))?)
}

fn set_up(shared: &SetUp, fd: &VcpuFd, index: u32) -> Result<(), BuildError> {
    let cpuid = shared.template.for_vcpu(index)?;
    fd.set_cpuid2(&cpuid).map_err(KvmError::of("KVM_SET_CPUID2"))?;
    set_msrs(fd)?;
    let apic_mode = ApicMode::needed_by(shared.template.topology());
    if index == 0 {
        set_up_first(shared, fd, apic_mode)
    } else if apic_mode == ApicMode::X2apic {
        // All else that could be set, the INIT that starts this vCPU resets.
        let mut sregs = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
        apic_mode.apply(&mut sregs);
        Ok(fd.set_sregs(&sregs).map_err(KvmError::of("KVM_SET_SREGS"))?)
    } else {
        Ok(())
    }
}

fn set_up_first(shared: &SetUp, fd: &VcpuFd, apic_mode: ApicMode) -> Result<(), BuildError> {
    let mut reset = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
    apic_mode.apply(&mut reset);
    fd.set_sregs(&shared.entry.sregs(reset)).map_err(KvmError::of("KVM_SET_SREGS"))?;
    fd.set_fpu(&boot::fpu()).map_err(KvmError::of("KVM_SET_FPU"))?;
    let mut lapic = fd.get_lapic().map_err(KvmError::of("KVM_GET_LAPIC"))?;
    boot::wire_lint1(&mut lapic);
    fd.set_lapic(&lapic).map_err(KvmError::of("KVM_SET_LAPIC"))?;
    Ok(fd.set_regs(&shared.entry.regs()).map_err(KvmError::of("KVM_SET_REGS"))?)
}

fn set_msrs(fd: &VcpuFd) -> Result<(), BuildError> {
    let entries = boot::msrs();
    let msrs = Msrs::from_entries(&entries).map_err(|_| KvmError::Msr { index: 0 })?;
    let set = fd.set_msrs(&msrs).map_err(KvmError::of("KVM_SET_MSRS"))?;
    // KVM stops at the first that it does not take.
    match entries.get(set) {
        None => Ok(()),
        Some(refused) => Err(KvmError::Msr { index: refused.index }.into()),
    }
}
