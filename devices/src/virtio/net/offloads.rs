//! Work on packets that one side leaves to the other: checksums, and cutting large packets up.

use std::ops::{BitAnd, BitOr};

/// A set of offloads; the bits are those of TUNSETOFFLOAD (`linux/if_tun.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads(u32);

impl Offloads {
    /// None: every packet is complete and no larger than the MTU.
    pub const NONE: Self = Self(0);
    /// Checksums of TCP and UDP. No other works without it.
    pub const CHECKSUM: Self = Self(0x01);
    /// Large TCP packets over IPv4.
    pub const TSO4: Self = Self(0x02);
    /// Large TCP packets over IPv6.
    pub const TSO6: Self = Self(0x04);
    /// Large TCP packets with congestion marks.
    pub const ECN: Self = Self(0x08);
    /// Large UDP packets, cut up as IP fragments.
    pub const UFO: Self = Self(0x10);
    /// All for TCP.
    pub const TSO: Self = Self(0x02 | 0x04 | 0x08);
    /// All.
    pub const ALL: Self = Self(0x1F);

    /// The bits, as TUNSETOFFLOAD takes them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `others` are in it.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether packets may be larger than the MTU.
    pub(super) const fn large(self) -> bool {
        self.0 & (Self::TSO.0 | Self::UFO.0) != 0
    }

    /// Without `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those that can work together: none without that of checksums.
    #[must_use]
    pub const fn consistent(self) -> Self {
        if self.has(Self::CHECKSUM) { self } else { Self::NONE }
    }
}

impl BitOr for Offloads {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Offloads {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
