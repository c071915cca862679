//! Ethernet addresses, written `52:54:00:12:34:56` (IEEE 802, clause 8).
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr(pub [u8; 6]);

/// Text that is no Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address; expected six bytes in hexadecimal, such as 52:54:00:12:34:56")]
pub struct NotAMacAddr;

impl MacAddr {
    /// An address for a single station, made of random bytes: the bit of groups cleared, the bit of
    /// locally administered addresses set.
    pub const fn local(mut random: [u8; 6]) -> Self {
        random[0] = random[0] & !1 | 2;
        Self(random)
    }

    /// Whether a station can have it: neither a group's address nor all zeroes.
    pub fn is_of_a_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl FromStr for MacAddr {
    type Err = NotAMacAddr;

    fn from_str(text: &str) -> Result<Self, NotAMacAddr> {
        let mut parts = text.split(':');
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let part = parts.next().ok_or(NotAMacAddr)?;
            // `from_str_radix` would take a sign, too.
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NotAMacAddr);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMacAddr)?;
        }
        if parts.next().is_some() { Err(NotAMacAddr) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = NotAMacAddr;

    fn try_from(text: String) -> Result<Self, NotAMacAddr> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(address: MacAddr) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_is_none() {
        let address = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0xAB]);
        assert_eq!("52:54:00:12:34:aB".parse(), Ok(address));
        assert_eq!(address.to_string(), "52:54:00:12:34:ab");
        for text in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:0:12:34:56", "+1:0"] {
            assert_eq!(text.parse::<MacAddr>(), Err(NotAMacAddr), "{text}");
        }
        assert!(!MacAddr([1, 0, 0, 0, 0, 0]).is_of_a_station());
        assert!(!MacAddr([0; 6]).is_of_a_station());
        assert!(MacAddr::local([0xFF; 6]).is_of_a_station());
        assert_eq!(MacAddr::local([0xFF; 6]).0[0], 0xFE);
    }
}
