//! What this machine's `/dev/kvm` is good for.
use std::fs::OpenOptions;

/// What can be run on this machine's own KVM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kvm {
    /// A processor with virtualisation extensions: anything, Linux too.
    Hardware,
    /// KVM in software: guests of our own, but no Linux user space.
    Software,
    /// Nothing, and why.
    Unusable(String),
}

/// Looks at `/dev/kvm` and at the processor.
pub fn detect() -> Kvm {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Kvm::Unusable(format!("/dev/kvm can't be opened: {error}"));
    }
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if has_extensions(&cpuinfo) { Kvm::Hardware } else { Kvm::Software }
}

/// Whether the flags name Intel's VT-x or AMD's SVM.
fn has_extensions(cpuinfo: &str) -> bool {
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags.any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use super::has_extensions;

    #[test]
    fn extensions_are_whole_words_of_the_flags() {
        assert!(has_extensions("model name\t: x\nflags\t\t: fpu svm npt\n"));
        assert!(has_extensions("flags\t\t: vmx\n"));
        assert!(!has_extensions(
            "flags\t\t: fpu svm_lock\nvmx flags\t: vnmi vmx\nmodel name\t: svm\n"
        ));
    }
}
