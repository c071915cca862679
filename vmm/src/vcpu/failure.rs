//! What to say when a vCPU cannot go on: where it was, what it was doing, and its registers.

use std::fmt;

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::run_page::{FailureData, RunPage};
use crate::vm::KvmError;

/// The longest instruction (Intel SDM, volume 2, section 2.3.11).
const LONGEST_INSTRUCTION: usize = 15;

/// A vCPU came to an exit that the VMM cannot handle.
#[derive(Clone, Debug)]
pub struct VcpuFailure {
    /// Index of the vCPU.
    pub index: usize,
    what: String,
    registers: Option<(kvm_regs, kvm_sregs)>,
    instruction: String,
}

impl VcpuFailure {
    /// A vCPU could not be set up for its first entry into the guest.
    pub(super) fn before_entry(index: usize, error: &KvmError) -> Self {
        let what = format!("it could not be set up: {error}");
        Self { index, what, registers: None, instruction: String::new() }
    }
}

/// Gathers what can be known; never fails, because it is called when things already did.
pub(super) fn describe(
    index: usize,
    fd: &VcpuFd,
    run: &RunPage,
    errno: Option<kvm_ioctls::Error>,
    memory: &impl GuestMemoryBackend,
) -> VcpuFailure {
    let what = match errno {
        Some(errno) => format!("KVM_RUN failed: {errno}"),
        None => explain(&run.failure()),
    };
    let registers = fd.get_regs().ok().zip(fd.get_sregs().ok());
    let instruction = registers.as_ref().map_or_else(
        || "unknown (the registers cannot be read)".to_owned(),
        |(regs, sregs)| decode(regs.rip, sregs, |address| byte(fd, memory, address)),
    );
    VcpuFailure { index, what, registers, instruction }
}

fn explain(data: &FailureData) -> String {
    match data {
        FailureData::Internal { suberror, data } => {
            let name = match suberror {
                1 => "emulation failure",
                2 => "two exceptions at once",
                3 => "a fault while delivering an event",
                4 => "an unexpected exit reason",
                _ => "unknown",
            };
            format!("KVM internal error {suberror} ({name}), data {data:x?}")
        }
        FailureData::Entry { reason, cpu } => {
            format!(
                "the processor refused to enter the guest: reason {reason:#x} on host CPU {cpu}"
            )
        }
        FailureData::Other { reason } => format!("KVM exit {reason}, which has no handler"),
    }
}

/// One byte of the guest's linear address space, if it is mapped.
fn byte(fd: &VcpuFd, memory: &impl GuestMemoryBackend, linear: u64) -> Option<u8> {
    let translation = fd.translate_gva(linear).ok().filter(|t| t.valid != 0)?;
    memory.read_obj(GuestAddress(translation.physical_address)).ok()
}

fn decode(rip: u64, sregs: &kvm_sregs, byte: impl Fn(u64) -> Option<u8>) -> String {
    let bitness = match (sregs.cs.l, sregs.cs.db) {
        (1, _) => 64,
        (0, 1) => 32,
        _ => 16,
    };
    let linear = if bitness == 64 { rip } else { sregs.cs.base.wrapping_add(rip) };
    let bytes: Vec<u8> =
        (0..LONGEST_INSTRUCTION as u64).map_while(|i| byte(linear.wrapping_add(i))).collect();
    if bytes.is_empty() {
        return format!("not readable: linear address {linear:#x} is not mapped");
    }
    let instruction = Decoder::with_ip(bitness, &bytes, rip, DecoderOptions::NONE).decode();
    let mut text = String::new();
    IntelFormatter::new().format(&instruction, &mut text);
    let used = instruction.len().clamp(1, bytes.len());
    format!("{text} ({:02x?}, {bitness}-bit)", &bytes[..used])
}

impl fmt::Display for VcpuFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vCPU {} stopped: {}", self.index, self.what)?;
        let Some((r, s)) = &self.registers else {
            return write!(f, "; its registers cannot be read");
        };
        write!(f, " at RIP {:#x}: {}", r.rip, self.instruction)?;
        write!(
            f,
            "\n  rax={:016x} rbx={:016x} rcx={:016x} rdx={:016x}",
            r.rax, r.rbx, r.rcx, r.rdx
        )?;
        write!(
            f,
            "\n  rsi={:016x} rdi={:016x} rbp={:016x} rsp={:016x}",
            r.rsi, r.rdi, r.rbp, r.rsp
        )?;
        write!(f, "\n   r8={:016x}  r9={:016x} r10={:016x} r11={:016x}", r.r8, r.r9, r.r10, r.r11)?;
        write!(
            f,
            "\n  r12={:016x} r13={:016x} r14={:016x} r15={:016x}",
            r.r12, r.r13, r.r14, r.r15
        )?;
        write!(
            f,
            "\n  rflags={:x} cs={:x}:{:x} cpl={}",
            r.rflags, s.cs.selector, s.cs.base, s.ss.dpl
        )?;
        write!(
            f,
            " cr0={:x} cr2={:x} cr3={:x} cr4={:x} efer={:x}",
            s.cr0, s.cr2, s.cr3, s.cr4, s.efer
        )
    }
}

impl std::error::Error for VcpuFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_decoded_in_the_mode_of_its_code_segment() {
        let code = [0x0f, 0xae, 0x38, 0xf4];
        let mut sregs = kvm_sregs::default();
        sregs.cs.l = 1;
        let text = decode(0x1000, &sregs, |a| code.get(usize::try_from(a).ok()? - 0x1000).copied());
        assert_eq!(text, "clflush [rax] ([0f, ae, 38], 64-bit)");
        sregs.cs.l = 0;
        sregs.cs.base = 0x1000;
        let text = decode(3, &sregs, |a| code.get(usize::try_from(a).ok()? - 0x1000).copied());
        assert_eq!(text, "hlt ([f4], 16-bit)");
    }

    #[test]
    fn code_that_is_not_mapped_is_said_to_be_so() {
        let text = decode(0x42, &kvm_sregs::default(), |_| None);
        assert_eq!(text, "not readable: linear address 0x42 is not mapped");
    }
}
