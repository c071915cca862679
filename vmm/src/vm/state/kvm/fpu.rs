//! The floating-point and vector state, in the form in which the host's KVM has it.
//!
//! An XSAVE area (Intel SDM volume 1, 13.4) is mostly zeros: it is saved up to its last byte that is not. How long it is, KVM says (KVM_CAP_XSAVE2, which
//! counts what a process has asked for); a longer area of another host fits if what is beyond is zero.

use kvm_bindings::{Xsave, kvm_xsave};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use super::mirror::Mirror;
use super::refusal::Refusal;
use super::registers::LegacyFpu;
use crate::vm::KvmError;

/// Bytes of the area where KVM does not say.
const PLAIN: usize = size_of::<kvm_xsave>();

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fpu {
    /// KVM_GET_FPU.
    Legacy(Box<LegacyFpu>),
    /// KVM_GET_XSAVE, KVM_GET_XSAVE2.
    Xsave(Vec<u8>),
}

/// What the host's KVM has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FpuForm {
    /// No XSAVE.
    Legacy,
    /// An area of one size.
    Xsave,
    /// An area of this many bytes, at least those of the other.
    Xsave2(usize),
}

impl FpuForm {
    /// What it is on this host. It does not change later: nothing here asks the kernel for more vector state.
    pub(super) fn of(vm: &VmFd) -> Self {
        match usize::try_from(vm.check_extension_int(Cap::Xsave2)) {
            Ok(size) if size >= PLAIN => Self::Xsave2(size),
            _ if vm.check_extension(Cap::Xsave) => Self::Xsave,
            _ => Self::Legacy,
        }
    }
}

impl Fpu {
    /// Reads it.
    pub(super) fn get(fd: &VcpuFd, form: FpuForm) -> Result<Self, KvmError> {
        match form {
            FpuForm::Legacy => {
                let fpu = fd.get_fpu().map_err(KvmError::of("KVM_GET_FPU"))?;
                Ok(Self::Legacy(Box::new(LegacyFpu::of(&fpu))))
            }
            FpuForm::Xsave => {
                let area = fd.get_xsave().map_err(KvmError::of("KVM_GET_XSAVE"))?;
                Ok(Self::Xsave(trimmed(&area.region, &[])))
            }
            FpuForm::Xsave2(size) => get_area(fd, size).map(Self::Xsave),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// Says what does not fit, or what KVM refuses.
    pub(super) fn set(&self, fd: &VcpuFd, form: FpuForm) -> Result<(), Refusal> {
        match (self, form) {
            (Self::Legacy(fpu), FpuForm::Legacy) => {
                Ok(fd.set_fpu(&fpu.kvm()).map_err(KvmError::of("KVM_SET_FPU"))?)
            }
            (Self::Xsave(bytes), FpuForm::Xsave) => set_area(fd, bytes, PLAIN),
            (Self::Xsave(bytes), FpuForm::Xsave2(size)) => set_area(fd, bytes, size),
            (Self::Legacy(_), _) | (_, FpuForm::Legacy) => Err(Refusal::Unfit(
                "of this host and the one where it was saved only one has XSAVE".to_owned(),
            )),
        }
    }
}

/// An XSAVE area of a size that KVM has told.
struct Area(Xsave);

impl Area {
    fn of_size(size: usize) -> Result<Self, KvmError> {
        let words = size.saturating_sub(PLAIN).div_ceil(size_of::<u32>());
        Xsave::new(words).map(Self).map_err(|_| KvmError::Lacks("an XSAVE area of a usual size"))
    }
}

fn get_area(fd: &VcpuFd, size: usize) -> Result<Vec<u8>, KvmError> {
    let mut area = Area::of_size(size)?;
    // SAFETY: the area has the size that KVM has told (see `FpuForm::of`).
    unsafe { fd.get_xsave2(&mut area.0) }.map_err(KvmError::of("KVM_GET_XSAVE2"))?;
    let whole = area.0.as_fam_struct_ref();
    Ok(trimmed(&whole.xsave.region, area.0.as_slice()))
}

fn set_area(fd: &VcpuFd, bytes: &[u8], size: usize) -> Result<(), Refusal> {
    if bytes.len() > size {
        let reason = format!("its vector state has {} bytes, this host's {size}", bytes.len());
        return Err(Refusal::Unfit(reason));
    }
    let mut area = Area::of_size(size)?;
    let mut words = bytes.chunks(size_of::<u32>()).map(|chunk| {
        let mut word = [0; size_of::<u32>()];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(word)
    });
    // SAFETY: the length, which is the only field that must stay, is not touched.
    let whole = unsafe { area.0.as_mut_fam_struct() };
    for (place, word) in whole.xsave.region.iter_mut().zip(&mut words) {
        *place = word;
    }
    for (place, word) in area.0.as_mut_slice().iter_mut().zip(words) {
        *place = word;
    }
    // SAFETY: the area has at least the size that KVM has told, which is what it reads.
    unsafe { fd.set_xsave2(&area.0) }.map_err(KvmError::of("KVM_SET_XSAVE"))?;
    Ok(())
}

fn trimmed(head: &[u32], tail: &[u32]) -> Vec<u8> {
    let words = head.iter().chain(tail);
    let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    bytes.shrink_to_fit();
    bytes
}
