//! What the vCPUs' registers hold when the guest's first instruction runs.

use kvm_bindings::{kvm_dtable, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_sregs};
use vm_memory::GuestAddress;

use super::layout;
use super::tables::{self, CodeSegment, GDT_LIMIT};

const CR0_PROTECTED: u64 = 1 << 0;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_NUMERIC_ERROR: u64 = 1 << 5;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LONG_MODE_ENABLE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;

/// RFLAGS: bit 1 is always set; interrupts are off.
const RFLAGS: u64 = 1 << 1;

const MSR_MISC_ENABLE: u32 = 0x1A0;
const MISC_ENABLE_FAST_STRINGS: u64 = 1 << 0;
const MSR_MTRR_DEF_TYPE: u32 = 0x2FF;
const MTRR_ENABLE: u64 = 1 << 11;
const MTRR_WRITE_BACK: u64 = 6;

/// Where and in which mode the first vCPU begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// 64-bit mode, the low 4 GiB mapped to themselves, RSI = zero page
    /// (Linux `Documentation/arch/x86/boot.rst`, "64-bit boot protocol").
    Long64 {
        /// The first instruction.
        rip: GuestAddress,
    },
    /// 32-bit protected mode without paging, EBX = start info (Xen `docs/misc/pvh.pandoc`).
    Pvh {
        /// The first instruction.
        eip: GuestAddress,
    },
}

impl Entry {
    /// The general registers.
    pub fn regs(&self) -> kvm_regs {
        let common = kvm_regs { rflags: RFLAGS, ..kvm_regs::default() };
        match *self {
            Self::Long64 { rip } => kvm_regs {
                rip: rip.0,
                rsi: layout::ZERO_PAGE.0,
                rsp: layout::STACK_TOP.0,
                rbp: layout::STACK_TOP.0,
                ..common
            },
            Self::Pvh { eip } => kvm_regs { rip: eip.0, rbx: layout::START_INFO.0, ..common },
        }
    }

    /// The system registers: `reset`, what KVM gave the vCPU, with the mode of this entry in
    /// place. The APIC base stays as it is there.
    pub fn sregs(&self, reset: kvm_sregs) -> kvm_sregs {
        let bits = self.code_segment();
        let data = tables::data_segment();
        let common = kvm_sregs {
            cs: tables::code_segment(bits),
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            tr: tables::task_segment(),
            gdt: kvm_dtable { base: layout::GDT.0, limit: GDT_LIMIT, ..kvm_dtable::default() },
            // No interrupt before the guest has a table of its own.
            idt: kvm_dtable::default(),
            cr0: CR0_PROTECTED | CR0_EXTENSION_TYPE | CR0_NUMERIC_ERROR,
            ..reset
        };
        match bits {
            CodeSegment::Bits64 => kvm_sregs {
                cr0: common.cr0 | CR0_PAGING,
                cr3: layout::PML4.0,
                cr4: CR4_PAE,
                efer: EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE,
                ..common
            },
            CodeSegment::Bits32 => kvm_sregs { cr3: 0, cr4: 0, efer: 0, ..common },
        }
    }

    pub(super) fn code_segment(&self) -> CodeSegment {
        match self {
            Self::Long64 { .. } => CodeSegment::Bits64,
            Self::Pvh { .. } => CodeSegment::Bits32,
        }
    }
}

/// The floating-point state after FNINIT and an SSE reset, for every vCPU: all exceptions masked.
pub fn fpu() -> kvm_fpu {
    kvm_fpu { fcw: 0x37F, mxcsr: 0x1F80, ..kvm_fpu::default() }
}

/// Model-specific registers that firmware would set, for every vCPU: fast string instructions,
/// and write-back as the memory type of all RAM. Every KVM has both.
pub fn msrs() -> [kvm_msr_entry; 2] {
    let entry = |index, data| kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
    [
        entry(MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRINGS),
        entry(MSR_MTRR_DEF_TYPE, MTRR_ENABLE | MTRR_WRITE_BACK),
    ]
}
