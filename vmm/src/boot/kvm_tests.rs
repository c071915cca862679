//! The entry points on the machine's own KVM: tiny kernels that tell what they were given.
//!
//! They also walk through everything that a vCPU gets before it first runs.

use kvm_bindings::{Msrs, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};

use super::test_images::{self, LOAD};
use super::{ApicMode, Entry, EntryPreference, KernelSource, Payload, fpu, load, msrs, wire_lint1};
use crate::acpi::{
    self, LegacyDevice, Platform, RESET_PORT, RESET_VALUE, SLEEP_CONTROL_PORT, SleepControl,
};
use crate::config::CpusConfig;
use crate::cpuid::{MsiDestination, Template, Topology, TscDeadline};
use crate::memory::{GuestRam, layout};

const DEBUG_PORT: u16 = 0xE9;

/// Bits 15:8 of RSI, then the first byte of the header's magic in the zero page; power off.
/// The stack is used, too.
#[rustfmt::skip]
const LONG64: &[u8] = &[
    0x56,                               // push rsi
    0x58,                               // pop rax
    0x48, 0xC1, 0xE8, 0x08,             // shr rax, 8
    0xE6, 0xE9,                         // out 0xE9, al
    0x8A, 0x86, 0x02, 0x02, 0x00, 0x00, // mov al, [rsi + 0x202]
    0xE6, 0xE9,                         // out 0xE9, al
    0xB0, 0x34,                         // mov al, 0x34
    0x66, 0xBA, 0x00, 0x06,             // mov dx, 0x600
    0xEE,                               // out dx, al
];

/// The low byte of the magic in start info; power off.
#[rustfmt::skip]
const PVH: &[u8] = &[
    0x8B, 0x03,             // mov eax, [ebx]
    0xE6, 0xE9,             // out 0xE9, al
    0xB0, 0x34,             // mov al, 0x34
    0x66, 0xBA, 0x00, 0x06, // mov dx, 0x600
    0xEE,                   // out dx, al
];

struct Machine {
    kvm: Kvm,
    vm: VmFd,
    ram: GuestRam,
    template: Template,
}

impl Machine {
    /// `None`, with a line that says so, where there is no KVM.
    fn new(vcpus: u32) -> Option<Self> {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("left out: there is no usable /dev/kvm");
            return None;
        };
        let vm = kvm.create_vm().unwrap();
        vm.set_tss_address(usize::try_from(layout::KVM_TSS.0).unwrap()).unwrap();
        vm.create_irq_chip().unwrap();
        let ram = test_images::ram(16 << 20);
        for (slot, region) in (0..).zip(ram.regions()) {
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.gpa.0,
                memory_size: region.size,
                userspace_addr: region.host_address,
            };
            // SAFETY: the region is mapped for as long as `ram` lives, which outlives the VM's
            // only use in a test.
            unsafe { vm.set_user_memory_region(region) }.unwrap();
        }
        let cpus = CpusConfig { max_vcpus: vcpus, ..CpusConfig::default() };
        let topology = Topology::new(&cpus).unwrap();
        let supported = kvm.get_supported_cpuid(kvm_bindings::KVM_MAX_CPUID_ENTRIES).unwrap();
        let deadline = if kvm.check_extension(Cap::TscDeadlineTimer) {
            TscDeadline::Available
        } else {
            TscDeadline::Missing
        };
        let template =
            Template::new(&supported, topology, deadline, MsiDestination::Bits8).unwrap();
        Some(Self { kvm, vm, ram, template })
    }

    /// What every vCPU gets; the first one also the entry point.
    fn vcpu(&self, index: u32, entry: Option<Entry>) -> VcpuFd {
        let id = self.template.topology().apic_id(index).unwrap();
        let vcpu = self.vm.create_vcpu(u64::from(id.0)).unwrap();
        vcpu.set_cpuid2(&self.template.for_vcpu(index).unwrap()).unwrap();
        let mut sregs = vcpu.get_sregs().unwrap();
        ApicMode::needed_by(self.template.topology()).apply(&mut sregs);
        let sregs = entry.map_or(sregs, |entry| entry.sregs(sregs));
        vcpu.set_sregs(&sregs).unwrap();
        let set = vcpu.set_msrs(&Msrs::from_entries(&msrs()).unwrap()).unwrap();
        assert_eq!(set, msrs().len(), "KVM refused MSR {:#x}", msrs()[set % msrs().len()].index);
        vcpu.set_fpu(&fpu()).unwrap();
        let mut lapic = vcpu.get_lapic().unwrap();
        wire_lint1(&mut lapic);
        vcpu.set_lapic(&lapic).unwrap();
        if let Some(entry) = entry {
            vcpu.set_regs(&entry.regs()).unwrap();
        }
        vcpu
    }
}

/// Runs until the guest switches off; returns what it wrote to the debug port.
fn run(mut vcpu: VcpuFd) -> Vec<u8> {
    let mut said = Vec::new();
    for _ in 0..100 {
        match vcpu.run().unwrap() {
            VcpuExit::IoOut(DEBUG_PORT, bytes) => said.extend_from_slice(bytes),
            VcpuExit::IoOut(SLEEP_CONTROL_PORT, &[value]) => {
                assert_eq!(SleepControl::decode(value), SleepControl::PowerOff);
                return said;
            }
            other => panic!("unexpected exit {other:?} after {said:?}"),
        }
    }
    panic!("the guest does not switch off; it said {said:?}");
}

fn boot(image: &[u8], preference: EntryPreference) -> Option<(Entry, Vec<u8>)> {
    let machine = Machine::new(1)?;
    let kernel = KernelSource::Memory { name: "test", bytes: image };
    let payload = Payload { kernel, initramfs: None, cmdline: "", entry: preference };
    let loaded = load(&machine.ram, &payload).unwrap();
    let platform = Platform {
        topology: machine.template.topology(),
        boot_vcpus: 1,
        devices: &[LegacyDevice::Com1],
        pci: layout::pci_windows(machine.ram.end(), 40),
        memory: &[],
        nodes: &crate::acpi::Nodes::default(),
    };
    acpi::write(&machine.ram, &platform).unwrap();
    let vcpu = machine.vcpu(0, Some(loaded.entry));
    Some((loaded.entry, run(vcpu)))
}

#[test]
fn a_bzimage_starts_in_64_bit_mode_with_its_zero_page() {
    if let Some((_, said)) = boot(&test_images::bzimage(LONG64), EntryPreference::Auto) {
        assert_eq!(said, [0x70, b'H']);
    }
}

#[test]
fn an_elf_starts_in_64_bit_mode_with_its_zero_page() {
    if let Some((_, said)) = boot(&test_images::elf(LONG64, LOAD, None), EntryPreference::Auto) {
        assert_eq!(said, [0x70, b'H']);
    }
}

#[test]
fn an_elf_with_a_note_starts_in_32_bit_mode_with_its_start_info() {
    let image = test_images::elf(PVH, LOAD, Some(0x20_0000));
    if let Some((entry, said)) = boot(&image, EntryPreference::Auto) {
        assert!(matches!(entry, Entry::Pvh { .. }));
        assert_eq!(said, [0x78]);
    }
}

#[test]
fn a_jump_to_the_bios_resets() {
    let Some(machine) = Machine::new(1) else { return };
    let image = test_images::elf(LONG64, LOAD, None);
    let kernel = KernelSource::Memory { name: "test", bytes: &image };
    let entry = EntryPreference::Auto;
    load(&machine.ram, &Payload { kernel, initramfs: None, cmdline: "", entry }).unwrap();
    let mut vcpu = machine.vcpu(0, None);
    // As after reset, in real mode, but at F000:FFF0 and not below 4 GiB.
    let mut sregs = vcpu.get_sregs().unwrap();
    sregs.cs.base = 0xF_0000;
    vcpu.set_sregs(&sregs).unwrap();

    match vcpu.run().unwrap() {
        VcpuExit::IoOut(port, bytes) => assert_eq!((port, bytes), (RESET_PORT, &[RESET_VALUE][..])),
        other => panic!("unexpected exit {other:?}"),
    }
}

#[test]
fn vcpus_with_ids_over_255_take_their_state() {
    let Some(machine) = Machine::new(300) else { return };
    let limits = (machine.kvm.get_max_vcpus(), machine.kvm.get_max_vcpu_id());
    let limits = (u32::try_from(limits.0).unwrap(), u32::try_from(limits.1).unwrap());
    if machine.template.topology().check_limits(limits.0, limits.1).is_err() {
        eprintln!("left out: this KVM allows {} vCPUs with ids below {}", limits.0, limits.1);
        return;
    }
    let vcpu = machine.vcpu(299, None);
    let lapic = vcpu.get_lapic().unwrap();
    assert_eq!(lapic.regs[0x360..0x364], [0, 4, 0, 0]);
    assert_eq!(vcpu.get_sregs().unwrap().apic_base & 0xC00, 0xC00, "x2APIC mode");
}
