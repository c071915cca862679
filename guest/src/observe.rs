//! Decoding of what the guest keeps in its memory, for the host that reads it.
//!
//! The guest goes on while the host reads: each field is consistent in itself, two fields need not be
//! from the same instant. Only the mode word says several things at once, which is why it is
//! one word.

use crate::{Mode, Phase, layout};

/// Bytes of the control block, at [`layout::CONTROL`].
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
pub type ControlBytes = [u8; layout::CONTROL_SIZE as usize];
/// Bytes of a vCPU's line, at [`line_address`].
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
pub type LineBytes = [u8; layout::LINE_SIZE as usize];

/// Guest-physical address of a vCPU's line, by index in order of arrival.
pub fn line_address(index: u32) -> u64 {
    layout::LINES + layout::LINE_SIZE * u64::from(index)
}

/// The mode word: which mode, since which generation, and how many vCPUs have acknowledged that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeWord(pub u64);

impl ModeWord {
    /// Number of mode changes since boot, counted from 1 (a repeated key counts, too).
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The mode; `None` for a number that no mode has.
    pub fn mode(self) -> Option<Mode> {
        Mode::from_number((self.0 >> 16 & 0xFFFF) as u16)
    }

    /// vCPUs that have acknowledged this generation.
    pub fn acknowledged(self) -> u32 {
        (self.0 & 0xFFFF) as u32
    }
}

/// The control block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The phase; `None` before the guest has begun.
    pub phase: Option<Phase>,
    /// vCPUs announced on the command line.
    pub expected: u32,
    /// vCPUs that are up.
    pub up: u32,
    /// x2APIC id of the BSP.
    pub bsp_apic_id: u32,
    /// LAPIC timer ticks a second of each vCPU, 0 when off.
    pub tick_hz: u32,
    /// Keys taken from the UART.
    pub keys: u32,
    /// Mode, generation and acknowledgements.
    pub mode: ModeWord,
    /// The crash record, once the phase is [`Phase::Crashed`].
    pub crash: Option<Crash>,
}

/// What an unexpected exception left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Index of the vCPU's line.
    pub vcpu: u32,
    /// Exception vector.
    pub vector: u64,
    /// Error code; 0 for vectors without one.
    pub error_code: u64,
    /// RIP at which it came.
    pub rip: u64,
    /// CR2 at that time; means something for vector 14 only.
    pub cr2: u64,
}

impl Control {
    /// Decodes the control block; `None` while the guest has not written its magic number.
    pub fn parse(bytes: &ControlBytes) -> Option<Self> {
        if field64(bytes, layout::CONTROL_MAGIC) != layout::MAGIC {
            return None;
        }
        let phase = Phase::from_number(field32(bytes, layout::CONTROL_PHASE));
        let crash = (phase == Some(Phase::Crashed)).then(|| Crash {
            vcpu: field32(bytes, layout::CONTROL_CRASH_VCPU),
            vector: field64(bytes, layout::CONTROL_CRASH_VECTOR),
            error_code: field64(bytes, layout::CONTROL_CRASH_ERROR),
            rip: field64(bytes, layout::CONTROL_CRASH_RIP),
            cr2: field64(bytes, layout::CONTROL_CRASH_CR2),
        });
        Some(Self {
            phase,
            expected: field32(bytes, layout::CONTROL_EXPECTED),
            up: field32(bytes, layout::CONTROL_UP),
            bsp_apic_id: field32(bytes, layout::CONTROL_BSP),
            tick_hz: field32(bytes, layout::CONTROL_TICK_HZ),
            keys: field32(bytes, layout::CONTROL_KEYS),
            mode: ModeWord(field64(bytes, layout::CONTROL_MODE)),
            crash,
        })
    }

    /// The mode that every expected vCPU is in; `None` while the guest boots, ends, or changes.
    pub fn settled(&self) -> Option<Mode> {
        let all = self.up >= self.expected && self.mode.acknowledged() == self.up;
        if self.phase == Some(Phase::Running) && all { self.mode.mode() } else { None }
    }
}

/// One vCPU's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Loop rounds; in [`Mode::Halt`] the number of times the vCPU went to sleep.
    pub heartbeat: u64,
    /// Completed port accesses of the PIO storm, writes and reads.
    pub pio: u64,
    /// Completed accesses of the MMIO storm, writes and reads.
    pub mmio: u64,
    /// Maskable interrupts taken.
    pub interrupts: u64,
    /// NMIs taken.
    pub nmis: u64,
    /// LAPIC timer ticks taken.
    pub ticks: u64,
    /// Storm reads that gave a wrong value.
    pub bad_reads: u64,
    /// x2APIC id: lines are in order of arrival, this says whose the line is.
    pub apic_id: u32,
    /// The mode generation that the vCPU acknowledged last.
    pub acknowledged: u32,
}

impl Line {
    /// Decodes a line.
    pub fn parse(bytes: &LineBytes) -> Self {
        Self {
            heartbeat: field64(bytes, layout::LINE_HEARTBEAT),
            pio: field64(bytes, layout::LINE_PIO),
            mmio: field64(bytes, layout::LINE_MMIO),
            interrupts: field64(bytes, layout::LINE_INTERRUPTS),
            nmis: field64(bytes, layout::LINE_NMIS),
            ticks: field64(bytes, layout::LINE_TICKS),
            bad_reads: field64(bytes, layout::LINE_BAD_READS),
            apic_id: field32(bytes, layout::LINE_APIC_ID),
            acknowledged: field32(bytes, layout::LINE_ACK),
        }
    }
}

fn field64(bytes: &[u8], offset: u64) -> u64 {
    u64::from_le_bytes(field(bytes, offset))
}

fn field32(bytes: &[u8], offset: u64) -> u32 {
    u32::from_le_bytes(field(bytes, offset))
}

/// The offsets are constants and lie within the arrays that `parse` takes; a field outside would be
/// zero.
fn field<const N: usize>(bytes: &[u8], offset: u64) -> [u8; N] {
    let field = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)?.first_chunk());
    field.copied().unwrap_or([0; N])
}
