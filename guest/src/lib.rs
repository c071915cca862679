//! The embedded SMP guest: what a VM runs when it is given no kernel, and what the KVM tests and the
//! benchmark run, because it can be brought into every state that is hard to pause.
//!
//! The build script assembles it (`asm/`) into [`IMAGE`], an ELF64 executable, to be entered by the
//! Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"): long
//! mode, the first 4 MiB and the command line identity-mapped, interrupts off, rsi = the zero page. Of
//! the zero page the guest reads only `cmd_line_ptr`; [`Options`] makes the command line. It needs
//! RAM up to [`layout::MEMORY_END`], an in-kernel or equivalent local APIC with x2APIC mode, an I/O
//! APIC and a 16550 at 0x3F8 on IRQ 4.
//!
//! # Memory
//!
//! Everything is identity-mapped by the guest's own page tables; what is not in the table is unmapped.
//!
//! | GPA | what | CPL 3 |
//! |---|---|---|
//! | `0x0000_8000` | AP trampoline, copied there once the VMM's boot structures are done with | |
//! | `0x0010_0000` | page tables (5 pages) | |
//! | `0x0010_5000` | the loops that run at CPL 3 | read |
//! | `0x0010_6000` | trampoline as loaded, IDT | |
//! | `0x0010_7000` | entry point, code and texts at CPL 0 | |
//! | `0x0011_0000` | control block | |
//! | `0x0012_0000` | heartbeat lines, 64 bytes a vCPU | write |
//! | `0x0013_0000` | GDT with a TSS descriptor a vCPU | |
//! | `0x0020_0000` | areas, 2 KiB a vCPU: TSS, I/O bitmap, NMI stack, main stack | |
//! | `0xD000_0000` | 2 MiB of unclaimed MMIO, target of the storm | write |
//! | `0xFEC0_0000` | I/O APIC | |
//!
//! The image itself is mapped read-only and the rest is initialised at boot, so entering the guest again
//! after a reset works whether or not the image was loaded anew.
//!
//! # Boot
//!
//! ```text
//! BSP: control block, GDT, IDT -> command line -> own page tables -> own stack, TSS, x2APIC
//!        -> INIT, SIPI to all others at once -> sleep until as many are up as vcpus= says
//!        -> I/O APIC, UART -> initial mode -> dispatcher
//! AP:  SIPI -> real mode -> long mode in one step -> index by atomic increment
//!        -> own stack, TSS, x2APIC -> count itself up; the last one wakes the BSP -> dispatcher
//! ```
//!
//! vCPUs are numbered by arrival, so a line's index is not the APIC id; the line says whose it is.
//! Nobody may send NMIs before the phase is [`Phase::Running`]: an AP between SIPI and its IDT has no
//! handler.
//!
//! # Modes
//!
//! A key (or `mode=`) publishes a new generation of the mode word and an IPI tells the other vCPUs. From
//! whatever it is doing, a vCPU goes through the dispatcher, which acknowledges the generation:
//!
//! ```text
//!              +---------------------- dispatcher ----------------------+
//!              | h           b            k           i           m     |
//!              v             v            v           v           v     |
//!            halt          busy         busy0        io         mmio    |
//!         sti; hlt     inc at CPL 3  inc at CPL 0  out, in    mov, mov  |
//!          (CPL 0)                                 at CPL 3   at CPL 3  |
//!              |             |            |           |           |     |
//!              +-------------+--- mode IPI (BSP: UART interrupt) -+-----+
//!
//! tick, NMI: counted, and the loop goes on where it was
//! r: reset by i8042, else ACPI port, else triple fault        q: power off by ACPI port
//! unexpected exception: crash record, one line on the serial port, power off
//! ```
//!
//! With `tick=HZ` the LAPIC timer of every vCPU ticks in every mode; `halt` with ticks is the idle
//! guest. CPL 3 runs natively on every KVM, also where CPL 0 is emulated. `s` prints the status, `x` crashes
//! on purpose, `?` lists the keys.
//!
//! # What a host observes, and where
//!
//! | question | answer |
//! |---|---|
//! | has it booted, how did it end | [`Control::phase`] |
//! | is every vCPU in the mode | [`Control::settled`]: acknowledgements, generation and mode are one word |
//! | does vCPU n make progress | [`Line::heartbeat`] rises; it stands still while the VM is paused (and in `halt` without ticks) |
//! | was a port or MMIO access lost or repeated | [`Line::pio`], [`Line::mmio`]: summed over all lines they equal the accesses that the VMM saw, exactly, once another mode is settled |
//! | did a read complete with another's data, or none | [`Line::bad_reads`] must stay 0 |
//! | did an NMI arrive, once | [`Line::nmis`], also by `s` |
//! | were ticks or IPIs lost | [`Line::ticks`], [`Line::interrupts`] |
//! | was a key lost | [`Control::keys`], or the line that each key prints |
//! | why did it crash | [`Control::crash`], or the serial line |
//!
//! In a storm each round is two accesses and a heartbeat: a write to port 0x80 and a read of the
//! UART's scratch register, which holds [`layout::SCRATCH_VALUE`]; or a write to and a read from the hole at
//! [`layout::MMIO_HOLE`], which reads as all ones. While a storm runs, at most one access a vCPU is done but
//! not yet counted.

pub mod driver;
pub mod layout;
mod mode;
mod observe;
mod options;
mod orders;
mod phase;

pub use mode::Mode;
pub use observe::{Control, ControlBytes, Crash, Line, LineBytes, ModeWord, line_address};
pub use options::Options;
pub use orders::{Order, driver_image_with};
pub use phase::Phase;

/// The guest with the driver program: vCPUs that would halt run it instead ([`driver`]).
pub const DRIVER_IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/driver-guest.elf"));

/// The guest: an ELF64 executable with one loadable segment, entry point [`layout::ENTRY`].
pub const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf"));
