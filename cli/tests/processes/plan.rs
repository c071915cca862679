//! What goes wrong in a round, drawn from a seed.

use super::link::Fault;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    /// Nothing, or something with the link.
    Link(Fault),
    /// The destination is killed so many microseconds after the begin.
    KillDestination { us: u64 },
    /// The source is killed.
    KillSource { us: u64 },
    /// The answer to the commit is lost, and then the destination is killed, which has run by then.
    DieInTheWindow,
    /// The operator cancels it, at the source or at the destination.
    Cancel { us: u64, at_source: bool },
    /// The destination gets so many more bytes of address space only.
    NoMemory { bytes: u64 },
    /// The destination gets so many more descriptors only.
    FewFiles { more: u64 },
    /// The link is slower than the guest, and the source has a second.
    OutOfTime { strategy: &'static str, bytes: u64 },
    /// No migration: a snapshot onto a disk that is full after so many bytes.
    DiskFull { bytes: u64, is_live: bool },
}

/// A round.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub wrong: Wrong,
    pub is_paused: bool,
    pub connections: u64,
    pub compression: &'static str,
}

/// What a migration without a fault takes.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    pub bytes: u64,
    pub back: u64,
    pub us: u64,
    /// Bytes of the guest's memory.
    pub memory: u64,
}

/// xorshift64*, from a seed that splitmix64 has spread.
struct Random(u64);

impl Random {
    fn new(seed: u64, round: u64) -> Self {
        let mut word = seed.wrapping_add(round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((word ^ (word >> 31)) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit.max(1)
    }
}

impl Plan {
    /// The round of this number.
    pub fn draw(seed: u64, round: u64, usual: &Usual) -> Self {
        let mut random = Random::new(seed, round);
        let is_paused = random.below(4) == 0;
        let connections = [1, 1, 2, 4][usize::try_from(random.below(4)).expect("few")];
        let compression = ["None", "Lz4", "Zstd"][usize::try_from(random.below(3)).expect("few")];
        let wrong = Self::wrong(&mut random, usual);
        Self { wrong, is_paused, connections, compression }
    }

    fn wrong(random: &mut Random, usual: &Usual) -> Wrong {
        // From before the first byte to after the last.
        let byte = |random: &mut Random| random.below(usual.bytes + usual.bytes / 8);
        // The end of it, where the hand-over is, as often as all the rest.
        let late = |random: &mut Random| usual.bytes - random.below(usual.bytes.min(4096));
        let instant = |random: &mut Random| random.below(usual.us + usual.us / 2);
        match random.below(32) {
            0 => Wrong::Link(Fault::None),
            1..=4 => Wrong::Link(Fault::Cut { after: byte(random) }),
            6..=8 => Wrong::Link(Fault::Cut { after: late(random) }),
            9..=11 => {
                Wrong::Link(Fault::CutBack { after: random.below(usual.back + usual.back / 4) })
            }
            5 | 12 => match random.below(3) {
                0 => Wrong::Link(Fault::Commit),
                1 => Wrong::Link(Fault::Answer),
                _ => Wrong::DieInTheWindow,
            },
            13 => Wrong::Link(Fault::Stall {
                after: byte(random),
                ms: random.below(200),
                cuts: random.below(2) == 0,
            }),
            14..=19 => Wrong::KillDestination { us: instant(random) },
            20..=21 => Wrong::KillSource { us: instant(random) },
            22..=24 => Wrong::Cancel { us: instant(random), at_source: random.below(3) > 0 },
            25..=26 => Wrong::NoMemory { bytes: random.below(usual.memory * 2) },
            27 => Wrong::FewFiles { more: random.below(56) },
            28 => {
                let strategies = ["Cancel", "Ignore", "Throttle"];
                let strategy = strategies[usize::try_from(random.below(3)).expect("few")];
                Wrong::OutOfTime { strategy, bytes: (4 << 20) + random.below(8 << 20) }
            }
            _ => Wrong::DiskFull {
                bytes: random.below(usual.memory + usual.memory / 8),
                is_live: random.below(2) == 0,
            },
        }
    }
}
