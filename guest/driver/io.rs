//! Memory and registers as the driver reaches them: everything is identity-mapped.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::shared::{
    ARGUMENTS, COMMAND, DONE, LINE_SIZE, LINES, MEETING, PROGRESS, RESULTS, STOP,
};

/// A register of a device, or memory that a device shares: an address.
#[derive(Clone, Copy)]
pub struct Address(pub u64);

macro_rules! access {
    ($read:ident, $write:ident, $int:ty, $reg:ident, $form:literal) => {
        /// Reads it by one `mov`.
        pub fn $read(self) -> $int {
            let value;
            // SAFETY: the guest's page tables map every address that the driver uses.
            unsafe {
                asm!(concat!("mov {v", $form, "}, [{a}]"), v = out($reg) value, a = in(reg) self.0,
                    options(nostack, preserves_flags));
            }
            value
        }

        /// Writes it by one `mov`.
        pub fn $write(self, value: $int) {
            // SAFETY: as for reading.
            unsafe {
                asm!(concat!("mov [{a}], {v", $form, "}"), v = in($reg) value, a = in(reg) self.0,
                    options(nostack, preserves_flags));
            }
        }
    };
}

impl Address {
    access!(read8, write8, u8, reg_byte, "");
    access!(read16, write16, u16, reg, ":x");
    access!(read32, write32, u32, reg, ":e");
    access!(read64, write64, u64, reg, ":r");

    /// So many bytes further on.
    pub const fn at(self, offset: u64) -> Self {
        Self(self.0 + offset)
    }
}

/// One vCPU's line in the shared memory.
pub struct Line(u64);

impl Line {
    pub const fn of(vcpu: u64) -> Self {
        Self(LINES + LINE_SIZE * vcpu)
    }

    fn word(&self, offset: u64) -> &'static AtomicU64 {
        // SAFETY: the line is mapped for as long as the program runs, and every access to it is atomic.
        unsafe { &*((self.0 + offset) as *const AtomicU64) }
    }

    /// The command and its sequence.
    pub fn command(&self) -> (u32, u64) {
        let word = self.word(COMMAND).load(Ordering::Acquire);
        (word as u32, word >> 32)
    }

    pub fn done(&self) -> u64 {
        self.word(DONE).load(Ordering::Relaxed)
    }

    pub fn finish(&self, sequence: u64) {
        self.word(DONE).store(sequence, Ordering::Release);
    }

    /// Rounds of what it is at.
    pub fn rounds(&self) -> u64 {
        self.word(PROGRESS).load(Ordering::Relaxed)
    }

    /// What its last command came to.
    pub fn outcome(&self) -> u64 {
        self.word(RESULTS).load(Ordering::Relaxed)
    }

    pub fn stopped(&self) -> bool {
        self.word(STOP).load(Ordering::Relaxed) != 0
    }

    pub fn progress(&self, rounds: u64) {
        self.word(PROGRESS).store(rounds, Ordering::Relaxed);
    }

    /// Says where this vCPU is; what it wrote before is seen by whoever sees it there.
    pub fn arrive(&self, at: u64) {
        self.word(MEETING).store(at, Ordering::Release);
    }

    /// Where the vCPU is.
    pub fn arrived(&self) -> u64 {
        self.word(MEETING).load(Ordering::Acquire)
    }

    pub fn argument(&self, index: u64) -> u64 {
        self.word(ARGUMENTS + 8 * index).load(Ordering::Relaxed)
    }

    pub fn result(&self, index: u64, value: u64) {
        self.word(RESULTS + 8 * index).store(value, Ordering::Relaxed);
    }

    pub fn clear_results(&self) {
        (0..16).for_each(|index| self.result(index, 0));
    }
}

/// The time stamp counter.
pub fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register that CPL 3 may read.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Reads a register over and over: what an exit costs.
pub fn read_loop(line: &Line) -> Result<(), u64> {
    let (register, rounds) = (Address(line.argument(0)), line.argument(1));
    let begun = ticks();
    for _ in 0..rounds {
        register.read32();
    }
    line.result(1, ticks() - begun);
    Ok(())
}

/// Reads a port over and over.
pub fn port_loop(line: &Line) -> Result<(), u64> {
    let (port, rounds) = (line.argument(0) as u16, line.argument(1));
    let begun = ticks();
    for _ in 0..rounds {
        // SAFETY: the program runs at IOPL 3, and what a read of a device does to memory is the host's to know who
        // names the port.
        unsafe {
            asm!("in al, dx", in("dx") port, out("al") _, options(nostack, preserves_flags));
        }
    }
    line.result(1, ticks() - begun);
    Ok(())
}

/// A generator of numbers that nobody relies on (xorshift64*).
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}
