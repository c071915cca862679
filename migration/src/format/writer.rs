//! Writing state.

use std::collections::BTreeSet;

use super::layout::{UnitHeader, stream_header};
use super::{FormatError, MAX_NAME, MAX_PAYLOAD, Unit, name_of};

/// Collects the units of a VM.
#[derive(Debug, Default)]
pub struct StateWriter {
    units: Vec<u8>,
    names: BTreeSet<String>,
}

impl StateWriter {
    /// No units yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the only unit of its kind.
    ///
    /// # Errors
    /// There is one already, or it is too long or cannot be encoded.
    pub fn put<T: Unit>(&mut self, unit: &T) -> Result<(), FormatError> {
        self.add(name_of::<T>(None), unit)
    }

    /// Adds one of several units of a kind, as in `vcpu/3`.
    ///
    /// # Errors
    /// As [`put`](Self::put); or the instance's name is too long or has control characters.
    pub fn put_instance<T: Unit>(&mut self, instance: &str, unit: &T) -> Result<(), FormatError> {
        self.add(name_of::<T>(Some(instance)), unit)
    }

    fn add<T: Unit>(&mut self, name: String, unit: &T) -> Result<(), FormatError> {
        if !is_name(&name) {
            return Err(FormatError::Name { place: format!("unit {name:?}") });
        }
        if self.names.contains(&name) {
            return Err(FormatError::Duplicate { unit: name });
        }
        let payload = postcard::to_stdvec(unit).map_err(|error| FormatError::Payload {
            unit: name.clone(),
            action: "encoded",
            reason: error.to_string(),
        })?;
        let too_long = || FormatError::TooLong { unit: name.clone(), bytes: payload.len() };
        if payload.len() > MAX_PAYLOAD {
            return Err(too_long());
        }
        let header = UnitHeader {
            version: T::VERSION,
            name_len: u16::try_from(name.len()).map_err(|_| too_long())?,
            payload_len: u32::try_from(payload.len()).map_err(|_| too_long())?,
        };
        self.units.extend(header.bytes());
        self.units.extend(header.crc(name.as_bytes(), &payload).to_le_bytes());
        self.units.extend(name.as_bytes());
        self.units.extend(payload);
        self.names.insert(name);
        Ok(())
    }

    /// The stream.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        // More units than that would not fit into memory.
        let count = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let mut stream = stream_header(count);
        stream.extend(self.units);
        stream
    }
}

/// Whether a unit may be called so.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}
