//! What an exit costs with bare KVM calls: a guest of two instructions, and a thread that calls KVM_RUN again and again.
//!
//! The guest runs in long mode on identity-mapped 2 MiB pages that CPL 3 may use; interrupts are off, and there is no
//! interrupt controller. It reads a register where nothing is, or a port, and jumps back.
#![expect(unsafe_code, reason = "KVM takes the address of guest RAM")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::kvm::TSS as KVM_PAGES;

/// Guest RAM: the first large page. The second one is the register's.
const RAM: u64 = 2 << 20;
const REGISTER: u64 = RAM;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const TASK: u64 = 0x4000;
const CODE: u64 = 0x5000;
const PORT: u64 = 0x80;
/// Page table entries: present, writable, for CPL 3; and a large page.
const ENTRY: u64 = 0x7;
const LARGE: u64 = 0x80;
/// `mov eax, [rsi]` or `in al, dx`, and a jump back to it.
const READ_REGISTER: [u8; 4] = [0x8B, 0x06, 0xEB, 0xFC];
const READ_PORT: [u8; 3] = [0xEC, 0xEB, 0xFD];
/// IOPL 3.
const RFLAGS: u64 = 3 << 12 | 1 << 1;

/// What the guest reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A register in memory, 32 bits.
    Register,
    /// A port, 8 bits.
    Port,
}

/// A vCPU that does nothing but exit.
pub struct Exits {
    vcpu: VcpuFd,
    access: Access,
    // Dropped after the vCPU.
    _vm: VmFd,
    _ram: GuestMemoryMmap,
}

impl Exits {
    /// One whose guest runs at this privilege level.
    pub fn new(access: Access, cpl: u8) -> Result<Self> {
        let kvm = Kvm::new().context("cannot open /dev/kvm")?;
        let vm = kvm.create_vm().context("KVM_CREATE_VM")?;
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), usize::try_from(RAM)?)])?;
        write(&ram, access)?;
        let region = ram.iter().next().context("RAM is one region")?;
        let region = kvm_userspace_memory_region {
            memory_size: RAM,
            userspace_addr: region.as_ptr().expose_provenance() as u64,
            ..Default::default()
        };
        // SAFETY: the mapping is as long as that and is dropped after the VM and its vCPU.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        if vm.check_extension(Cap::SetTssAddr) {
            vm.set_tss_address(KVM_PAGES).context("KVM_SET_TSS_ADDR")?;
        }
        let vcpu = vm.create_vcpu(0).context("KVM_CREATE_VCPU")?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        vcpu.set_cpuid2(&cpuid).context("KVM_SET_CPUID2")?;
        enter_long_mode(&vcpu, cpl).context("KVM_SET_SREGS")?;
        let registers = kvm_regs {
            rip: CODE,
            rsi: REGISTER,
            rdx: PORT,
            rsp: RAM,
            rflags: RFLAGS,
            ..Default::default()
        };
        vcpu.set_regs(&registers).context("KVM_SET_REGS")?;
        Ok(Self { vcpu, access, _vm: vm, _ram: ram })
    }

    /// How long so many exits take, with the way back into the guest.
    pub fn run(&mut self, exits: u32) -> Result<Duration> {
        let begun = Instant::now();
        for _ in 0..exits {
            match (self.access, self.vcpu.run().context("KVM_RUN")?) {
                (Access::Register, VcpuExit::MmioRead(REGISTER, data))
                | (Access::Port, VcpuExit::IoIn(_, data)) => data.fill(0),
                (_, exit) => bail!("the guest of two instructions came to {exit:?}"),
            }
        }
        Ok(begun.elapsed())
    }
}

fn write(ram: &GuestMemoryMmap, access: Access) -> Result<()> {
    let words = [
        (PML4, PDPT | ENTRY),
        (PDPT, DIRECTORY | ENTRY),
        (DIRECTORY, ENTRY | LARGE),
        (DIRECTORY + 8, REGISTER | ENTRY | LARGE),
    ];
    for (place, word) in words {
        ram.write_obj(word, GuestAddress(place))?;
    }
    let code: &[u8] = match access {
        Access::Register => &READ_REGISTER,
        Access::Port => &READ_PORT,
    };
    Ok(ram.write_slice(code, GuestAddress(CODE))?)
}

fn enter_long_mode(vcpu: &VcpuFd, cpl: u8) -> Result<()> {
    let segment = |selector: u16, type_| kvm_segment {
        selector: selector | u16::from(cpl),
        limit: 0xFFFF_FFFF,
        type_,
        present: 1,
        dpl: cpl,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let mut registers = vcpu.get_sregs()?;
    // Code: executed, read, accessed, 64 bits. Data: read, written, accessed.
    registers.cs = kvm_segment { l: 1, ..segment(0x08, 0xB) };
    let data = kvm_segment { db: 1, ..segment(0x10, 0x3) };
    (registers.ss, registers.ds, registers.es) = (data, data, data);
    // A busy 64-bit task.
    registers.tr = kvm_segment {
        base: TASK,
        limit: 0x67,
        selector: 0x18,
        type_: 0xB,
        present: 1,
        ..Default::default()
    };
    // Protection, paging; physical address extension; long mode enabled and active (Intel SDM 3A, 2.5 and 2.2.1).
    registers.cr0 = 0x8000_0033;
    registers.cr4 = 0x20;
    registers.cr3 = PML4;
    registers.efer = 0x500;
    Ok(vcpu.set_sregs(&registers)?)
}
