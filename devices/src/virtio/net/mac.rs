//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address, of six bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// A text is no address of a network card.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no MAC address; write six bytes in hexadecimal: 52:54:00:12:34:56")]
pub struct MacError(String);

impl MacAddress {
    /// The bit of the first byte that says that many stations listen to it.
    const GROUP: u8 = 0x01;
    /// The bit of the first byte that says that no manufacturer gave it.
    const LOCAL: u8 = 0x02;

    /// An address made of random bytes: of one station, and locally administered.
    #[must_use]
    pub const fn local(mut random: [u8; 6]) -> Self {
        random[0] = random[0] & !Self::GROUP | Self::LOCAL;
        Self(random)
    }

    /// Whether one station can have it: neither a group's address nor all zeros.
    #[must_use]
    pub fn is_station(self) -> bool {
        self.0[0] & Self::GROUP == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ":" };
            write!(formatter, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| {
                part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit())
            });
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| MacError(text.to_owned()))?;
        }
        if parts.next().is_some() { Err(MacError(text.to_owned())) } else { Ok(Self(bytes)) }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn addresses_print_and_parse() {
        for bytes in [[0; 6], [0x52, 0x54, 0, 0xAB, 0xCD, 0xEF], [0xFF; 6]] {
            assert_eq!(MacAddress(bytes).to_string().parse(), Ok(MacAddress(bytes)));
        }
        assert_eq!("52:54:00:AB:cd:0f".parse(), Ok(MacAddress([0x52, 0x54, 0, 0xAB, 0xCD, 0x0F])));
    }

    #[test]
    fn other_texts_are_refused_with_an_example() {
        for text in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:5",
            "+1:00:00:00:00:00",
            "gg:00:00:00:00:00",
        ] {
            let error = text.parse::<MacAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("52:54:00"), "{error}");
        }
    }

    #[test]
    fn random_addresses_are_of_one_station_and_local() {
        let address = MacAddress::local([0xFF; 6]);
        assert!(address.is_station());
        assert_eq!(address.0[0], 0xFE);
        assert!(!MacAddress([0xFF; 6]).is_station() && !MacAddress([0; 6]).is_station());
    }
}
