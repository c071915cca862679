//! A vCPU's registers as they are saved: what KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_DEBUGREGS, KVM_GET_XCRS, KVM_GET_FPU and
//! KVM_GET_VCPU_EVENTS tell (Documentation/virt/kvm/api.rst).

use kvm_bindings::{
    kvm_debugregs, kvm_dtable, kvm_fpu, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events,
    kvm_vcpu_events__bindgen_ty_1, kvm_vcpu_events__bindgen_ty_2, kvm_vcpu_events__bindgen_ty_3,
    kvm_vcpu_events__bindgen_ty_4, kvm_vcpu_events__bindgen_ty_5, kvm_xcr,
};

use super::mirror::mirror;

mirror! {
    /// General registers.
    Regs of kvm_regs {
        rax: u64, rbx: u64, rcx: u64, rdx: u64, rsi: u64, rdi: u64, rsp: u64, rbp: u64,
        r8: u64, r9: u64, r10: u64, r11: u64, r12: u64, r13: u64, r14: u64, r15: u64,
        rip: u64, rflags: u64,
    }
}

mirror! {
    /// A segment register with its hidden part.
    Segment of kvm_segment {
        base: u64, limit: u32, selector: u16, type_: u8, present: u8, dpl: u8, db: u8, s: u8, l: u8, g: u8, avl: u8,
        unusable: u8,
    }
}

mirror! {
    /// GDTR or IDTR.
    Table of kvm_dtable { base: u64, limit: u16 }
}

mirror! {
    /// System registers. The bitmap has the interrupt that is being delivered, if one is.
    Sregs of kvm_sregs {
        cs: Segment, ds: Segment, es: Segment, fs: Segment, gs: Segment, ss: Segment, tr: Segment, ldt: Segment,
        gdt: Table, idt: Table,
        cr0: u64, cr2: u64, cr3: u64, cr4: u64, cr8: u64, efer: u64, apic_base: u64,
        interrupt_bitmap: [u64; 4],
    }
}

mirror! {
    /// Debug registers.
    Debug of kvm_debugregs { db: [u64; 4], dr6: u64, dr7: u64, flags: u64 }
}

mirror! {
    /// One extended control register.
    Xcr of kvm_xcr { xcr: u32, value: u64 }
}

mirror! {
    /// The floating-point state where KVM has no more than that.
    LegacyFpu of kvm_fpu {
        fpr: [[u8; 16]; 8], fcw: u16, fsw: u16, ftwx: u8, last_opcode: u16, last_ip: u64, last_dp: u64,
        xmm: [[u8; 16]; 16], mxcsr: u32,
    }
}

mirror! {
    /// The exception that is to be delivered.
    Exception of kvm_vcpu_events__bindgen_ty_1 { injected: u8, nr: u8, has_error_code: u8, pending: u8, error_code: u32 }
}

mirror! {
    /// The interrupt that is being delivered, and whether the instruction shadows interrupts.
    Interrupt of kvm_vcpu_events__bindgen_ty_2 { injected: u8, nr: u8, soft: u8, shadow: u8 }
}

mirror! {
    /// Non-maskable interrupts.
    Nmi of kvm_vcpu_events__bindgen_ty_3 { injected: u8, pending: u8, masked: u8 }
}

mirror! {
    /// System management, and an INIT that waits.
    Smi of kvm_vcpu_events__bindgen_ty_4 { smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }
}

mirror! {
    /// A triple fault that has not come out yet.
    TripleFault of kvm_vcpu_events__bindgen_ty_5 { pending: u8 }
}

mirror! {
    /// What is on its way into the vCPU. The flags say which of these KVM has told.
    Events of kvm_vcpu_events {
        exception: Exception, interrupt: Interrupt, nmi: Nmi, sipi_vector: u32, flags: u32, smi: Smi,
        triple_fault: TripleFault, exception_has_payload: u8, exception_payload: u64,
    }
}
