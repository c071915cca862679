//! Building a VM: KVM objects, RAM, kernel, tables, devices, vCPUs, threads; all or nothing.

mod affinity;
mod devices;
mod irq;
mod limits;
mod vcpus;

pub use limits::make_room_for_files;

pub(super) use affinity::pin;
pub(super) use irq::IrqLine;
pub(super) use vcpus::Plan;

use ::devices::watchdog::Past;
use kvm_bindings::{
    KVM_CAP_X2APIC_API, KVM_PIT_SPEAKER_DUMMY, Msrs, kvm_enable_cap, kvm_pit_config,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, VmFd};
use vcpu_state::sync::Arc;
use vcpu_state::{Deadline, Group, Ticket};

use super::cpus::Cpus;
use super::kvm::{KvmError, KvmHost};
use super::pci::{Cards, PciRoot, PlugError};
use super::threads::Threads;
use super::watchdog::{self, NoWatchdog, PlacedWatchdog};
use super::{Machine, OnVcpuEnd, PowerRequests, Still, StillError, Vm, Workers};
use crate::acpi::{self, AcpiError, Platform};
use crate::boot::{self, BootError, EntryPreference, KernelSource, Payload};
use crate::config::{MemoryConfig, VmConfig};
use crate::consoles::Consoles;
use crate::control::Inbox;
use crate::cpuid::{
    self, CpuidError, MsiDestination, Template, Topology, TopologyError, TscDeadline,
};
use crate::host_devices::HostDevices;
use crate::memory::{GuestRam, MemoryError, layout};
use crate::vcpu::{ExitCounters, GroupKick, KickError, SignalKick, SpawnError};

/// KVM_X2APIC_API_USE_32BIT_IDS and KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK
/// (Documentation/virt/kvm/api.rst, 7.7): APIC ids above 255, and no id 255 that means "all".
const X2APIC_API_FLAGS: u64 = 0b11;

/// A VM could not be built. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The host's KVM.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The topology.
    #[error("cpus: {0}")]
    Topology(#[from] TopologyError),
    /// CPUID.
    #[error(transparent)]
    Cpuid(#[from] CpuidError),
    /// RAM.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel, its command line, the initramfs.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The ACPI tables.
    #[error(transparent)]
    Acpi(#[from] AcpiError),
    /// A device's place on a bus, or its interrupt.
    #[error("cannot attach {device}: {reason}")]
    Device {
        /// The device.
        device: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The host CPUs that a vCPU is to run on.
    #[error("cpus: affinity of vCPU {vcpu}: {reason}")]
    Affinity {
        /// The vCPU.
        vcpu: u32,
        /// What is wrong with them.
        reason: String,
    },
    /// A vCPU's slot has its thread already.
    #[error("vCPU {vcpu} has a thread already")]
    SlotTaken {
        /// The vCPU.
        vcpu: u32,
    },
    /// A virtio device.
    #[error(transparent)]
    Plug(#[from] PlugError),
    /// The watchdog.
    #[error(transparent)]
    Watchdog(#[from] NoWatchdog),
    /// The kick's signal handler.
    #[error(transparent)]
    Kick(#[from] KickError),
    /// A thread.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The hold that vCPU threads start under.
    #[error(transparent)]
    Hold(#[from] StillError),
}

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
        let ram = GuestRam::new(&self.config.memory, address_bits)?;
        let vm = Arc::new(make_vm(&host, &ram)?);
        // Not earlier: another thread has been asking since the process was started.
        let supported = host.supported_cpuid()?;
        let wide_ids = enable_wide_apic_ids(&vm);
        let template = Template::new(&supported, topology, deadline_of(&vm), wide_ids)?;
        let kernel = boot::load(&ram, &payload(self.config, &cmdline(self.config)))?;

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
        let legacy = devices::attach(&vm, &machine, self.consoles, options)?;
        let windows = layout::pci_windows(machine.ram.end(), address_bits);
        let nodes = acpi::Nodes::of(self.config);
        let platform = Platform {
            topology: &topology,
            boot_vcpus: cpus.boot_vcpus,
            devices: &legacy,
            pci: windows,
            memory: &acpi::memory_of(&machine.ram, &nodes),
            nodes: &nodes,
        };
        acpi::write(&machine.ram, &platform)?;
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
            entry: kernel.entry,
            msrs: Arc::new(msrs),
            boot_vcpus: cpus.boot_vcpus,
        };
        let hotplug = Cpus::new(&machine, plan, cpus.max_vcpus, self.inbox)?;

        let name_of = |member| cards.worker_name(member);
        let workers = Workers { group: cards.workers(), name_of: &name_of };
        let held = Still::reach(&group, &workers, Deadline::Never)?;
        let mut built = Vm {
            machine,
            group,
            threads: Threads::new(slots, kick, cpus.affinity.clone(), ended),
            held: Some(held),
            inbox: Arc::clone(self.inbox),
            power_taken,
            cpus: hotplug,
            cards,
            watchdog,
            root,
            kvm: vm,
        };
        built.count_devices();
        vcpus::start(&mut built)?;
        Ok(built)
    }
}

/// The command line; the embedded guest is told how many vCPUs to wait for.
fn cmdline(config: &VmConfig) -> String {
    let given = config.payload.cmdline.clone().unwrap_or_default();
    if config.payload.kernel.is_some() {
        return given;
    }
    format!("vcpus={} {given}", config.cpus.boot_vcpus).trim_end().to_owned()
}

fn payload<'a>(config: &'a VmConfig, cmdline: &'a str) -> Payload<'a> {
    let kernel = config.payload.kernel.as_deref().map_or(
        KernelSource::Memory { name: "the embedded guest", bytes: stillpoint_guest::IMAGE },
        KernelSource::File,
    );
    let initramfs = config.payload.initramfs.as_deref();
    Payload { kernel, initramfs, cmdline, entry: EntryPreference::Auto }
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
    for (slot, region) in (0..).zip(ram.regions()) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.gpa.0,
            memory_size: region.size,
            userspace_addr: region.host_address,
        };
        // SAFETY: the region is mapped for as long as `ram`, which the VM's `Machine` holds; if the
        // VM outlived it, KVM would see the unmapping (MMU notifiers) and fault, not touch freed memory.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(KvmError::of("KVM_SET_USER_MEMORY_REGION"))?;
    }
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
