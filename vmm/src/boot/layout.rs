//! What the boot code puts into the first MiB of RAM, and where.
//!
//! ```text
//!  0x1000  GDT                      0x9000  PML4, PDPT, 4 page directories
//!  0x2000  PVH start info,          0xF000  random seed (setup_data)
//!          modules, memory map     0x10000  command line
//!  0x7000  zero page               0xA0000  ACPI tables
//!  0x8000  stack, downwards        0xE0000  RSDP
//!          from 0x9000             0xFFFF0  reset vector
//!                                 0x100000  kernel, from here on
//! ```
use vm_memory::GuestAddress;

/// The global descriptor table of the 64-bit entry.
pub const GDT: GuestAddress = GuestAddress(0x1000);

/// `hvm_start_info` of the PVH entry, with its module list and memory map in the same page.
pub const START_INFO: GuestAddress = GuestAddress(0x2000);

/// The module list of the PVH entry.
pub const MODULES: GuestAddress = GuestAddress(0x2100);

/// The memory map of the PVH entry.
pub const PVH_MEMORY_MAP: GuestAddress = GuestAddress(0x2200);

/// `struct boot_params` of the 64-bit entry.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);

/// Initial stack pointer of the 64-bit entry; Linux does not need one, other guests may.
pub const STACK_TOP: GuestAddress = GuestAddress(0x8FF0);

/// Root of the page tables of the 64-bit entry, which map the low 4 GiB to themselves.
pub const PML4: GuestAddress = GuestAddress(0x9000);

/// Second level of the page tables.
pub const PDPT: GuestAddress = GuestAddress(0xA000);

/// Third level of the page tables: four pages, one a GiB, of 2 MiB mappings.
pub const PAGE_DIRECTORIES: GuestAddress = GuestAddress(0xB000);

/// The random seed, as an entry of the `setup_data` list.
pub const RANDOM_SEED: GuestAddress = GuestAddress(0xF000);

/// The command line, with its terminating zero byte.
pub const CMDLINE: GuestAddress = GuestAddress(0x1_0000);

/// Bytes that the command line may take, with its terminating zero byte.
pub const CMDLINE_ROOM: usize = 0x1_0000;

/// A VM needs at least this much RAM for the structures here and any kernel at all.
pub const MIN_RAM: u64 = 2 << 20;
