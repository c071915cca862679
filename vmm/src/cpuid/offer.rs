//! Whether a host has every feature that a guest was told of on another.

use kvm_bindings::kvm_cpuid_entry2;

use super::leaves::{self, Vendor};

/// A register of a leaf.
#[derive(Clone, Copy, Debug)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Registers of which each bit is a feature (Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E; Linux, Documentation/virt/kvm/x86/cpuid.rst).
const FEATURES: [(u32, u32, Register); 22] = [
    (leaves::FEATURES, 0, Register::Ecx),
    (leaves::FEATURES, 0, Register::Edx),
    (7, 0, Register::Ebx),
    (7, 0, Register::Ecx),
    (7, 0, Register::Edx),
    (7, 1, Register::Eax),
    (7, 1, Register::Ebx),
    (7, 1, Register::Ecx),
    (7, 1, Register::Edx),
    (7, 2, Register::Edx),
    (0xD, 0, Register::Eax),
    (0xD, 0, Register::Edx),
    (0xD, 1, Register::Eax),
    (0xD, 1, Register::Ecx),
    (0xD, 1, Register::Edx),
    (0x14, 0, Register::Ebx),
    (leaves::KVM_FEATURES, 0, Register::Eax),
    (leaves::EXTENDED_FEATURES, 0, Register::Ecx),
    (leaves::EXTENDED_FEATURES, 0, Register::Edx),
    (0x8000_0007, 0, Register::Edx),
    (leaves::ADDRESS_WIDTHS, 0, Register::Ebx),
    (0x8000_0021, 0, Register::Eax),
];

/// Checks that what `told` says of features `offered` says, too.
///
/// # Errors
/// Says what is missing, for people.
pub fn check_offer(offered: &[kvm_cpuid_entry2], told: &[kvm_cpuid_entry2]) -> Result<(), String> {
    if Vendor::of(offered) != Vendor::of(told) {
        return Err("its processors are another maker's than this host's".to_owned());
    }
    for (leaf, index, register) in FEATURES {
        let of = |table| leaves::find(table, leaf, index).map_or(0, |entry| register.of(entry));
        let missing = of(told) & !of(offered);
        if missing != 0 {
            return Err(format!(
                "this host lacks features that it was told of: CPUID leaf {leaf:#x}, index {index}, {register:?}, bits {missing:#x}"
            ));
        }
    }
    Ok(())
}

impl Register {
    fn of(self, entry: &kvm_cpuid_entry2) -> u32 {
        match self {
            Self::Eax => entry.eax,
            Self::Ebx => entry.ebx,
            Self::Ecx => entry.ecx,
            Self::Edx => entry.edx,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vendor(name: &[u8; 12]) -> kvm_cpuid_entry2 {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| name[at + byte]));
        kvm_cpuid_entry2 { ebx: word(0), edx: word(4), ecx: word(8), ..Default::default() }
    }

    #[test]
    fn a_feature_that_is_not_here_is_named() {
        let table =
            |ebx| [vendor(b"GenuineIntel"), kvm_cpuid_entry2 { ebx, ..leaves::indexed(7, 0) }];
        assert_eq!(check_offer(&table(0b111), &table(0b101)), Ok(()));
        assert_eq!(check_offer(&table(0b111), &table(0b111)), Ok(()));
        let error = check_offer(&table(0b101), &table(0b111)).unwrap_err();
        assert!(error.ends_with("leaf 0x7, index 0, Ebx, bits 0x2"), "{error}");
        check_offer(&table(1)[..1], &table(1)).unwrap_err();
        check_offer(&table(1), &table(1)[..1]).unwrap();
    }

    #[test]
    fn another_makers_processor_is_another() {
        let error =
            check_offer(&[vendor(b"AuthenticAMD")], &[vendor(b"GenuineIntel")]).unwrap_err();
        assert!(error.contains("another maker's"), "{error}");
    }
}
