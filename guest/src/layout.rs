//! Where everything of the guest lies: guest-physical addresses, field offsets, ports, vectors.
//!
//! One file for both sides: the build script assembles the guest from these constants, and host-side
//! readers (tests, the benchmark) find the guest's counters by them. All addresses are
//! guest-physical and, below 4 MiB, also guest-virtual (identity mapped). All multi-byte fields are
//! little-endian and naturally aligned, so an aligned host read never sees half an update.

/// The page below 1 MiB to which the BSP copies the real-mode trampoline. It is written after the
/// guest has parsed its command line and left the VMM's page tables and GDT behind.
pub const TRAMPOLINE: u64 = SIPI_VECTOR as u64 * 0x1000;
/// The SIPI vector: the number of that page.
pub const SIPI_VECTOR: u8 = 8;

/// Start of the loaded image. The guest never writes to the image's pages, so a reset that
/// re-enters [`ENTRY`] without loading it again finds it unharmed.
pub const IMAGE_BASE: u64 = 0x10_0000;
/// Top-level page table (PML4).
pub const PML4: u64 = IMAGE_BASE;
/// Page-directory-pointer table.
pub const PDPT: u64 = IMAGE_BASE + 0x1000;
/// Page directory of the first GiB.
pub const PD_LOW: u64 = IMAGE_BASE + 0x2000;
/// Page directory of the fourth GiB: the MMIO hole and the I/O APIC.
pub const PD_MMIO: u64 = IMAGE_BASE + 0x3000;
/// Page table of the first 2 MiB.
pub const PT_LOW: u64 = IMAGE_BASE + 0x4000;
/// The loops that run at CPL 3: one page, readable and executable by CPL 3.
pub const USER_CODE: u64 = IMAGE_BASE + 0x5000;
/// The trampoline as the image carries it, before it is copied to [`TRAMPOLINE`].
pub const TRAMPOLINE_IMAGE: u64 = IMAGE_BASE + 0x6000;
/// The interrupt descriptor table, [`IDT_VECTORS`] gates of 16 bytes.
pub const IDT: u64 = IMAGE_BASE + 0x6800;
/// Start of the CPL 0 code, and the ELF entry point.
pub const ENTRY: u64 = IMAGE_BASE + 0x7000;
/// End (exclusive) of what the file part of the image may occupy.
pub const IMAGE_LIMIT: u64 = IMAGE_BASE + 0x1_0000;

/// The control block: state of the guest as a whole, see the `CONTROL_*` offsets.
pub const CONTROL: u64 = 0x11_0000;
/// Bytes of the control block.
pub const CONTROL_SIZE: u64 = 192;
/// The heartbeat array: one [`LINE_SIZE`]-byte line per vCPU, by order of arrival (the BSP is 0).
pub const LINES: u64 = 0x12_0000;
/// The global descriptor table, built at boot.
pub const GDT: u64 = 0x13_0000;
/// The per-vCPU areas: TSS, NMI stack and main stack, [`AREA_SIZE`] bytes each.
pub const AREAS: u64 = 0x20_0000;
/// Bytes of one per-vCPU area.
pub const AREA_SIZE: u64 = 0x800;
/// End (exclusive) of all memory the guest uses with [`MAX_VCPUS`] vCPUs: the RAM it needs.
pub const MEMORY_END: u64 = AREAS + AREA_SIZE * MAX_VCPUS as u64;
/// vCPUs that the guest can bring up. Any beyond this number halts for good, uncounted.
pub const MAX_VCPUS: u32 = 1024;

/// Target of the MMIO storm: a hole below 4 GiB that no device claims. Reads must give all ones.
pub const MMIO_HOLE: u64 = 0xD000_0000;
/// The I/O APIC (its customary address; Intel 82093AA).
pub const IO_APIC: u64 = 0xFEC0_0000;
/// An address that the guest leaves unmapped; key `x` reads it to crash with a page fault.
pub const UNMAPPED: u64 = 0x0DEA_D000;

/// Control block, u64: [`MAGIC`] once the guest runs.
pub const CONTROL_MAGIC: u64 = 0x00;
/// Control block, u32: what the guest is doing, the number of a [`Phase`](crate::Phase).
pub const CONTROL_PHASE: u64 = 0x08;
/// Control block, u32: vCPUs that the command line announced (`vcpus=`).
pub const CONTROL_EXPECTED: u64 = 0x0C;
/// Control block, u32: the next index to be taken by an arriving vCPU.
pub const CONTROL_NEXT: u64 = 0x10;
/// Control block, u32: vCPUs that are up (initialised, counted, on their way into the mode).
pub const CONTROL_UP: u64 = 0x14;
/// Control block, u32: x2APIC id of the BSP.
pub const CONTROL_BSP: u64 = 0x18;
/// Control block, u32: ticks a second of each vCPU's LAPIC timer, 0 when off.
pub const CONTROL_TICK_HZ: u64 = 0x1C;
/// Control block, u32: LAPIC timer initial count for that rate.
pub const CONTROL_TICK_COUNT: u64 = 0x20;
/// Control block, u32: 1 when `quiet` was on the command line.
pub const CONTROL_QUIET: u64 = 0x24;
/// Control block, u32: initial mode from the command line.
pub const CONTROL_INITIAL_MODE: u64 = 0x28;
/// Control block, u32: keys taken from the UART so far.
pub const CONTROL_KEYS: u64 = 0x2C;
/// Control block, u64, on a cache line of its own: bits 63..32 generation, 31..16 mode,
/// 15..0 how many vCPUs have acknowledged this generation.
pub const CONTROL_MODE: u64 = 0x40;
/// Control block, u32: 1 once a vCPU has claimed the crash record.
pub const CONTROL_CRASHED: u64 = 0x80;
/// Control block, u32: index of the vCPU that crashed.
pub const CONTROL_CRASH_VCPU: u64 = 0x84;
/// Control block, u64: exception vector.
pub const CONTROL_CRASH_VECTOR: u64 = 0x88;
/// Control block, u64: error code, 0 for vectors without one.
pub const CONTROL_CRASH_ERROR: u64 = 0x90;
/// Control block, u64: interrupted RIP.
pub const CONTROL_CRASH_RIP: u64 = 0x98;
/// Control block, u64: CR2.
pub const CONTROL_CRASH_CR2: u64 = 0xA0;

/// Value of [`CONTROL_MAGIC`]: the bytes `StillPt1`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"StillPt1");

/// Bytes of one vCPU's line: a cache line, so that no two vCPUs write to the same one.
pub const LINE_SIZE: u64 = 64;
/// Line, u64: heartbeats: loop rounds, or in `halt` the number of times the vCPU went to sleep.
pub const LINE_HEARTBEAT: u64 = 0;
/// Line, u64: completed port accesses of the PIO storm.
pub const LINE_PIO: u64 = 8;
/// Line, u64: completed accesses of the MMIO storm.
pub const LINE_MMIO: u64 = 16;
/// Line, u64: maskable interrupts taken (ticks, IPIs, UART).
pub const LINE_INTERRUPTS: u64 = 24;
/// Line, u64: NMIs taken.
pub const LINE_NMIS: u64 = 32;
/// Line, u64: LAPIC timer ticks taken.
pub const LINE_TICKS: u64 = 40;
/// Line, u64: storm reads that returned something else than they must.
pub const LINE_BAD_READS: u64 = 48;
/// Line, u32: x2APIC id.
pub const LINE_APIC_ID: u64 = 56;
/// Line, u32: the mode generation that the vCPU acknowledged last.
pub const LINE_ACK: u64 = 60;

/// First port of the 16550 UART.
pub const UART: u16 = 0x3F8;
/// The UART's interrupt line.
pub const UART_IRQ: u8 = 4;
/// The UART's scratch register, read by the PIO storm.
pub const UART_SCRATCH: u16 = UART + 7;
/// What the guest puts into the scratch register, and what every read of it must give.
pub const SCRATCH_VALUE: u8 = 0x5A;
/// Port written by the PIO storm: the POST diagnostic port, harmless.
pub const POST_PORT: u16 = 0x80;
/// i8042 command port: [`I8042_RESET`] written here pulses the reset line.
pub const I8042_COMMAND: u16 = 0x64;
/// The i8042 command that resets the machine.
pub const I8042_RESET: u8 = 0xFE;
/// The VMM's ACPI register: sleep control and reset in one byte-wide port.
pub const ACPI_PORT: u16 = 0x600;
/// Written to [`ACPI_PORT`]: SLP_TYP 5 and SLP_EN (ACPI 6.5, table 4.19): power off.
pub const ACPI_POWER_OFF: u8 = 5 << 2 | 1 << 5;
/// Written to [`ACPI_PORT`]: reset.
pub const ACPI_RESET: u8 = 1;

/// Nominal LAPIC timer frequency with divisor 1 under KVM, in Hz (its default
/// `KVM_CAP_X86_APIC_BUS_CYCLES_NS` of 1 ns).
pub const APIC_TIMER_HZ: u32 = 1_000_000_000;

/// Highest rate that `tick=` takes, in Hz; KVM allows no shorter period by default.
pub const MAX_TICK_HZ: u32 = 5000;

/// Number of gates in the IDT; a vector above them raises #GP and is reported as that.
pub const IDT_VECTORS: u8 = 0x50;
/// Vector of the LAPIC timer tick.
pub const VECTOR_TICK: u8 = 0x41;
/// Vector of the IPI by which the last AP wakes the BSP during boot.
pub const VECTOR_WAKE: u8 = 0x42;
/// Vector of the mode-change IPI.
pub const VECTOR_MODE: u8 = 0x43;
/// Vector of the UART interrupt.
pub const VECTOR_UART: u8 = 0x44;
/// The LAPIC's spurious vector.
pub const VECTOR_SPURIOUS: u8 = 0x4F;

/// CPL 0 64-bit code selector of the guest's own GDT.
pub const KERNEL_CS: u16 = 0x08;
/// CPL 0 data selector.
pub const KERNEL_DS: u16 = 0x10;
/// CPL 3 64-bit code selector, with its RPL.
pub const USER_CS: u16 = 0x18 | 3;
/// CPL 3 data selector, with its RPL.
pub const USER_DS: u16 = 0x20 | 3;
/// Selector of the TSS of vCPU 0; each further vCPU has the next 16 bytes.
pub const FIRST_TSS: u16 = 0x30;
