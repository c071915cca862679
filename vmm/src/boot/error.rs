//! What can go wrong between a payload and its entry point.

use std::io;

use thiserror::Error;

use super::layout::MIN_RAM;

/// Why a payload could not be loaded. Sizes are in bytes.
#[derive(Debug, Error)]
pub enum BootError {
    /// The kernel's file or contents.
    #[error("kernel {name}: {error}")]
    Kernel {
        /// Its path, or what else it is called.
        name: String,
        /// What is wrong with it.
        #[source]
        error: KernelError,
    },
    /// The initramfs can't be read.
    #[error("initramfs {name}: {source}")]
    Initramfs {
        /// Its path.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// The initramfs has no bytes.
    #[error("initramfs {name}: the file is empty")]
    InitramfsEmpty {
        /// Its path.
        name: String,
    },
    /// The initramfs has more bytes than there is room for.
    #[error(
        "initramfs {name}: its {size} bytes do not fit; between the end of the kernel ({floor:#x}) \
         and the highest address allowed ({ceiling:#x}) there are {} bytes; \
         give the VM more memory or the kernel a smaller initramfs", .ceiling.saturating_sub(*.floor)
    )]
    InitramfsTooBig {
        /// Its path.
        name: String,
        /// Its size.
        size: u64,
        /// The lowest address that it could have.
        floor: u64,
        /// The address that it must end at or below.
        ceiling: u64,
    },
    /// The command line is longer than the kernel takes.
    #[error("the kernel command line has {len} bytes; this kernel takes at most {limit}")]
    CmdlineTooLong {
        /// Its length.
        len: usize,
        /// The longest that the kernel takes.
        limit: usize,
    },
    /// The command line has a zero byte in it, which would end it.
    #[error("the kernel command line has a zero byte at offset {at}")]
    CmdlineZero {
        /// Where.
        at: usize,
    },
    /// The RAM does not even hold the boot structures.
    #[error("memory size {size} is too little to boot anything; the least is {MIN_RAM} bytes")]
    TooLittleRam {
        /// The RAM that the VM has.
        size: u64,
    },
    /// A boot structure could not be written; the checks before rule this out.
    #[error("cannot write a boot structure to guest memory: {0}")]
    Write(#[from] vm_memory::GuestMemoryError),
    /// The host has no random bytes.
    #[error("cannot get random bytes for the guest's seed: {0}")]
    Random(io::Error),
}

/// What is wrong with a kernel. Sizes are in bytes.
#[derive(Debug, Error)]
pub enum KernelError {
    /// It can't be opened or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is a directory, a device, or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It is no kernel that this VMM can start.
    #[error("it is {found}, not a kernel; a bzImage or an x86-64 ELF (vmlinux) is needed")]
    NotAKernel {
        /// What it looks like.
        found: &'static str,
    },
    /// It is a kernel for another kind of processor.
    #[error("it is built for {machine}, not for x86-64")]
    WrongArchitecture {
        /// The kind of processor.
        machine: String,
    },
    /// It is an x86 kernel without a 64-bit entry point.
    #[error("it is a 32-bit x86 kernel; only 64-bit kernels can be started")]
    Bits32,
    /// The boot protocol that it speaks has no 64-bit entry point.
    #[error(
        "it speaks boot protocol {}.{:02}; at least 2.12 (Linux 3.8) is needed", .version >> 8,
        .version & 0xFF
    )]
    TooOld {
        /// Major version in the high byte, minor in the low.
        version: u16,
    },
    /// It ends before its headers say that it does.
    #[error("it is truncated: its {part} ends at byte {end}, but the file has {size}")]
    Truncated {
        /// What is cut off.
        part: &'static str,
        /// Where that should end.
        end: u64,
        /// Bytes that there are.
        size: u64,
    },
    /// A header field makes no sense.
    #[error("its header is damaged: {0}")]
    Damaged(&'static str),
    /// It needs RAM that the VM does not have.
    #[error(
        "it needs memory from {start:#x} to {end:#x}, but the RAM below the 32-bit hole ends at \
         {ram:#x}; give the VM more memory"
    )]
    DoesNotFit {
        /// First address needed.
        start: u64,
        /// First address not needed.
        end: u64,
        /// Where RAM ends.
        ram: u64,
    },
    /// It wants to lie where the boot structures are.
    #[error("it wants to be at {start:#x}, below 1 MiB, where the boot structures are")]
    TooLow {
        /// Where it wants to be.
        start: u64,
    },
    /// Its entry point is in nothing that was loaded.
    #[error("its {kind} entry point {entry:#x} lies in no loaded segment")]
    BadEntry {
        /// Which entry point.
        kind: &'static str,
        /// Where it is.
        entry: u64,
    },
    /// The loader found something else.
    #[error("{0}")]
    Loader(linux_loader::loader::Error),
}
