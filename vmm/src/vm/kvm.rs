//! The host's KVM: opening it, and asking what it can do instead of assuming it.

use std::io;
use std::sync::OnceLock;

use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};

/// KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// The device node is missing.
    #[error(
        "/dev/kvm does not exist: load the kvm module (modprobe kvm_intel or kvm_amd), or enable virtualisation in the firmware"
    )]
    Missing,
    /// The device node is not ours to open.
    #[error(
        "no permission to open /dev/kvm: become a member of the group that owns it (usually kvm)"
    )]
    Permission,
    /// It cannot be opened for another reason.
    #[error("cannot open /dev/kvm: {0}")]
    Open(io::Error),
    /// It speaks another version of the interface.
    #[error(
        "/dev/kvm speaks version {found} of the KVM interface; version {} is needed",
        KVM_API_VERSION
    )]
    Version {
        /// What it speaks.
        found: i32,
    },
    /// It lacks something that no VM can do without.
    #[error("this host's KVM lacks {0}")]
    Lacks(&'static str),
    /// Fewer vCPUs than asked for.
    #[error("{wanted} vCPUs are too many: this host's KVM allows {allowed}")]
    TooManyVcpus {
        /// Asked for.
        wanted: u32,
        /// Possible.
        allowed: usize,
    },
    /// It does not take a model-specific register that every vCPU starts with.
    #[error("KVM refuses the value of model-specific register {index:#x}")]
    Msr {
        /// Its number.
        index: u32,
    },
    /// The process may not open as many files as its vCPUs take.
    #[error(
        "no room for the files of a vCPU, each of which takes two: {source}; raise the limit of open files (ulimit -n)"
    )]
    Files {
        /// What the host says.
        source: kvm_ioctls::Error,
    },
    /// It refuses an ioctl.
    #[error("{what} failed: {source}")]
    Ioctl {
        /// The ioctl.
        what: &'static str,
        /// Its error.
        source: kvm_ioctls::Error,
    },
}

impl KvmError {
    /// For `map_err` on an ioctl.
    pub(crate) fn of(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |source| Self::Ioctl { what, source }
    }

    /// The same for what makes a file of a vCPU: whichever of them is one too many, what helps is the same.
    pub(crate) fn of_vcpu_file(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |source| match source.errno() {
            libc::EMFILE => Self::Files { source },
            _ => Self::Ioctl { what, source },
        }
    }
}

/// The host's KVM, opened and checked.
pub struct KvmHost {
    kvm: Kvm,
}

impl KvmHost {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    /// It is missing, not permitted, of another version, or lacks what every VM needs.
    pub fn open() -> Result<Self, KvmError> {
        let kvm = Kvm::new().map_err(|errno| match errno.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => KvmError::Missing,
            libc::EACCES | libc::EPERM => KvmError::Permission,
            other => KvmError::Open(io::Error::from_raw_os_error(other)),
        })?;
        let found = kvm.get_api_version();
        if u32::try_from(found) != Ok(KVM_API_VERSION) {
            return Err(KvmError::Version { found });
        }
        let needed = [
            (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT (Linux 4.13)"),
            (Cap::Irqchip, "an interrupt controller in the kernel (KVM_CAP_IRQCHIP)"),
            (Cap::Irqfd, "irqfd (KVM_CAP_IRQFD)"),
            (Cap::Ioeventfd, "ioeventfd (KVM_CAP_IOEVENTFD)"),
            (Cap::UserMemory, "user memory (KVM_CAP_USER_MEMORY)"),
        ];
        match needed.into_iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
            Some((_, name)) => Err(KvmError::Lacks(name)),
            None => Ok(Self { kvm }),
        }
    }

    /// Whether it allows this many vCPUs.
    ///
    /// # Errors
    /// It does not; says how many it does.
    pub fn check_vcpus(&self, wanted: u32) -> Result<(), KvmError> {
        let allowed = self.kvm.get_max_vcpus();
        if wanted as usize > allowed {
            return Err(KvmError::TooManyVcpus { wanted, allowed });
        }
        Ok(())
    }

    /// What CPUID leaves it can offer to a guest. Asked once in the life of the process: a host whose
    /// CPUID instruction traps takes half a millisecond to answer.
    ///
    /// # Errors
    /// KVM refuses.
    pub fn supported_cpuid(&self) -> Result<CpuId, KvmError> {
        static SUPPORTED: OnceLock<Option<CpuId>> = OnceLock::new();
        match SUPPORTED.get_or_init(|| self.ask_for_cpuid().ok()) {
            Some(supported) => Ok(supported.clone()),
            None => self.ask_for_cpuid(),
        }
    }

    /// Asks ahead for what every VM will need. An error is that of the VM which needs it, not of now.
    pub fn learn() {
        if let Ok(host) = Self::open() {
            let _ = host.supported_cpuid();
            let _ = Self::msr_indices();
        }
    }

    /// Model-specific registers of its vCPUs, of those that it lists. Asked once in the life of the process.
    ///
    /// # Errors
    /// KVM refuses.
    pub(super) fn msr_indices() -> Result<Vec<u32>, KvmError> {
        static LISTED: OnceLock<Vec<u32>> = OnceLock::new();
        if let Some(listed) = LISTED.get() {
            return Ok(listed.clone());
        }
        let list = Self::open()?.kvm.get_msr_index_list();
        let list = list.map_err(KvmError::of("KVM_GET_MSR_INDEX_LIST"))?;
        Ok(LISTED.get_or_init(|| list.as_slice().to_vec()).clone())
    }

    fn ask_for_cpuid(&self) -> Result<CpuId, KvmError> {
        self.kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(KvmError::of("KVM_GET_SUPPORTED_CPUID"))
    }

    pub(super) fn kvm(&self) -> &Kvm {
        &self.kvm
    }
}
