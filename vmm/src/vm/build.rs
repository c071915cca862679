//! Building a VM: KVM objects, RAM, devices, vCPUs, threads, and what it starts with: a kernel and tables, or the state of another
//! VM, which is still to come; all or nothing.

mod affinity;
mod devices;
mod error;
mod irq;
mod limits;
mod payload;
mod start;
mod vcpus;

pub use error::BuildError;
pub use limits::make_room_for_files;
pub use start::Start;

pub(super) use affinity::pin;
pub(super) use devices::Legacy;
pub(super) use irq::IrqLine;
pub(super) use vcpus::Plan;

use ::devices::watchdog::Past;
use kvm_bindings::{
    KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_X2APIC_API, KVM_CAP_X86_TRIPLE_FAULT_EVENT,
    KVM_PIT_SPEAKER_DUMMY, Msrs, kvm_enable_cap, kvm_pit_config,
};
use kvm_ioctls::{Cap, VmFd};
use vcpu_state::sync::Arc;
use vcpu_state::{Deadline, Group, Ticket};

use super::cpus::Cpus;
use super::kvm::{KvmError, KvmHost};
use super::pci::{Cards, PciRoot, PlugError};
use super::slots::{self, Logging};
use super::threads::Threads;
use super::watchdog::{self, PlacedWatchdog};
use super::{Machine, OnVcpuEnd, PowerRequests, Stillness, Vm};
use crate::acpi::{self, Platform};
use crate::boot;
use crate::config::{MemoryConfig, VmConfig};
use crate::consoles::Consoles;
use crate::control::Inbox;
use crate::cpuid::{self, MsiDestination, Template, Topology, TscDeadline};
use crate::host_devices::HostDevices;
use crate::memory::{GuestRam, layout};
use crate::vcpu::{ExitCounters, GroupKick, SignalKick};

/// KVM_X2APIC_API_USE_32BIT_IDS and KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK
/// (Documentation/virt/kvm/api.rst, 7.7): APIC ids above 255, and no id 255 that means "all".
const X2APIC_API_FLAGS: u64 = 0b11;

/// What a VM is built from.
pub struct Builder<'a> {
    /// Its configuration, validated.
    pub config: &'a VmConfig,
    /// The host's ends of its consoles.
    pub consoles: &'a Consoles,
    /// The host's ends of its devices.
    pub devices: &'a HostDevices,
    /// Woken when the guest asks for something.
    pub inbox: &'a Arc<Inbox>,
    /// Why the machine begins, for its watchdog to tell.
    pub past: Past,
    /// What it begins with.
    pub start: Start,
}

impl Builder<'_> {
    /// Builds it, every vCPU thread parked. `ended` is called on a vCPU's thread when it ends.
    ///
    /// # Errors
    /// The first thing that did not work; whatever had been built is gone then.
    pub fn build(&self, ended: OnVcpuEnd) -> Result<Vm, BuildError> {
        let cpus = &self.config.cpus;
        let host = KvmHost::open()?;
        host.check_vcpus(cpus.max_vcpus)?;
        make_room_for_files(cpus.max_vcpus);
        let topology = Topology::new(cpus)?;
        let address_bits = address_bits_for(&self.config.memory, &host)?;
        let ram = self.start.ram(&self.config.memory, address_bits)?;
        let vm = Arc::new(make_vm(&host, &ram)?);
        // Not earlier: another thread has been asking since the process was started.
        let supported = host.supported_cpuid()?;
        let wide_ids = enable_wide_apic_ids(&vm);
        enable_whole_events(&vm);
        let template = Template::new(&supported, topology, deadline_of(&vm), wide_ids)?;
        let entry = self.start.load(&ram, self.config)?;

        let slots = cpus.max_vcpus as usize;
        let kick = SignalKick::new(slots)?;
        let group = Group::new(slots, Box::new(GroupKick(Arc::clone(&kick))));
        let (ticket, power_taken) = Ticket::new(&group);
        let machine = Arc::new(Machine {
            ram,
            pio: Arc::default(),
            mmio: Arc::default(),
            exits: ExitCounters::new(slots),
            power: Arc::new(PowerRequests::new(ticket, Arc::clone(self.inbox) as _)),
            devices: arc_swap::ArcSwap::default(),
        });
        let options = devices::Options { pvpanic: self.config.pvpanic };
        let (told, legacy) = devices::attach(&vm, &machine, self.consoles, options)?;
        let windows = layout::pci_windows(machine.ram.end(), address_bits);
        let nodes = acpi::Nodes::of(self.config);
        let platform = Platform {
            topology: &topology,
            boot_vcpus: cpus.boot_vcpus,
            devices: &told,
            pci: windows,
            memory: &acpi::memory_of(&machine.ram, &nodes),
            nodes: &nodes,
        };
        if entry.is_some() {
            acpi::write(&machine.ram, &platform)?;
        }
        let root = PciRoot::new(&vm, &machine, &group, windows, self.inbox)?;
        let watchdog =
            self.config.watchdog.then(|| watchdog::make(self.past, &machine.power)).transpose()?;
        let cards = Cards::new(&group, self.inbox, watchdog.as_deref());
        let mut cards = cards.map_err(PlugError::Thread)?;
        for host in self.devices.iter() {
            cards.plug(&root, &machine.ram, host)?;
        }
        // The last, so that it changes nobody's slot.
        let watchdog = watchdog.map(|one| PlacedWatchdog::plug(one, &root)).transpose()?;

        let msrs = Msrs::from_entries(&boot::msrs()).map_err(|_| KvmError::Msr { index: 0 })?;
        let plan = Plan {
            template,
            entry,
            msrs: Arc::new(msrs),
            boot_vcpus: cpus.boot_vcpus,
            address_bits,
            msi: wide_ids,
        };
        let hotplug = Cpus::new(&machine, plan, cpus.max_vcpus, self.inbox)?;

        let stillness = Stillness { vcpus: Arc::clone(&group), workers: cards.workers() };
        let held = stillness.reach(Deadline::Never)?;
        let mut built = Vm {
            machine,
            group,
            threads: Threads::new(slots, kick, cpus.affinity.clone(), ended),
            stillness,
            held: Some(held),
            inbox: Arc::clone(self.inbox),
            power_taken,
            cpus: hotplug,
            legacy,
            cards,
            watchdog,
            root,
            msr_indices: std::sync::OnceLock::new(),
            kvm: vm,
        };
        built.count_devices();
        vcpus::start(&mut built)?;
        Ok(built)
    }
}

/// How many bits a physical address has; where memory as this takes no more than every processor has, the
/// number of those.
fn address_bits_for(memory: &MemoryConfig, host: &KvmHost) -> Result<u8, KvmError> {
    let least = 1 << cpuid::LEAST_ADDRESS_BITS;
    if layout::end_of_memory(memory.boot_size(), memory.hotplug()).is_some_and(|end| end <= least) {
        return Ok(cpuid::LEAST_ADDRESS_BITS);
    }
    Ok(cpuid::physical_address_bits(&host.supported_cpuid()?))
}

/// KVM registers with the process's memory here, and gives that up for a signal or for work that the kernel has for the thread (an io_uring's,
/// for one), which says nothing about the VM (mm_take_all_locks in mm/mmap.c): then again.
fn create_vm(kvm: &kvm_ioctls::Kvm) -> Result<VmFd, kvm_ioctls::Error> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == libc::EINTR => {}
            done => return done,
        }
    }
}

fn make_vm(host: &KvmHost, ram: &GuestRam) -> Result<VmFd, KvmError> {
    let vm = create_vm(host.kvm()).map_err(KvmError::of("KVM_CREATE_VM"))?;
    // Before the interrupt controllers: what they register makes a later slot wait for a grace
    // period of several milliseconds.
    slots::set(&vm, ram, Logging::Off)?;
    if vm.check_extension(Cap::SetIdentityMapAddr) {
        vm.set_identity_map_address(layout::KVM_IDENTITY_MAP.0)
            .map_err(KvmError::of("KVM_SET_IDENTITY_MAP_ADDR"))?;
    }
    if vm.check_extension(Cap::SetTssAddr) {
        let address = usize::try_from(layout::KVM_TSS.0).unwrap_or(usize::MAX);
        vm.set_tss_address(address).map_err(KvmError::of("KVM_SET_TSS_ADDR"))?;
    }
    vm.create_irq_chip().map_err(KvmError::of("KVM_CREATE_IRQCHIP"))?;
    if vm.check_extension(Cap::Pit2) {
        let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        vm.create_pit2(config).map_err(KvmError::of("KVM_CREATE_PIT2"))?;
    }
    Ok(vm)
}

/// Has KVM tell of what is pending in a vCPU without carrying it out, where it can (KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_X86_TRIPLE_FAULT_EVENT).
fn enable_whole_events(vm: &VmFd) {
    for cap in [KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_X86_TRIPLE_FAULT_EVENT] {
        let wanted = kvm_enable_cap { cap, args: [1, 0, 0, 0], ..Default::default() };
        // A KVM without it is saved as well, but for an exception or a triple fault between two instructions of the host's.
        let _ = vm.enable_cap(&wanted);
    }
}

/// Lets APIC ids have 32 bits, where KVM can; MSIs then reach 15 bits of them.
fn enable_wide_apic_ids(vm: &VmFd) -> MsiDestination {
    let wanted = kvm_enable_cap {
        cap: KVM_CAP_X2APIC_API,
        args: [X2APIC_API_FLAGS, 0, 0, 0],
        ..Default::default()
    };
    match vm.enable_cap(&wanted) {
        Ok(()) => MsiDestination::Bits15,
        Err(_) => MsiDestination::Bits8,
    }
}

fn deadline_of(vm: &VmFd) -> TscDeadline {
    if vm.check_extension(Cap::TscDeadlineTimer) {
        TscDeadline::Available
    } else {
        TscDeadline::Missing
    }
}
