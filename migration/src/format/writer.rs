//! Writing state.

use std::collections::BTreeSet;

use super::layout::{UnitHeader, stream_header};
use super::{FormatError, MAX_NAME, MAX_PAYLOAD, Unit, name_of};

/// A unit as it is in a stream, made by any thread ([`EncodedUnit::instance`]).
#[derive(Debug)]
pub struct EncodedUnit {
    name: String,
    bytes: Vec<u8>,
}

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

    /// Adds one that was encoded before.
    ///
    /// # Errors
    /// There is one of that name already.
    pub fn put_encoded(&mut self, unit: EncodedUnit) -> Result<(), FormatError> {
        let EncodedUnit { name, bytes } = unit;
        if self.names.contains(&name) {
            return Err(FormatError::Duplicate { unit: name });
        }
        self.units.extend(bytes);
        self.names.insert(name);
        Ok(())
    }

    fn add<T: Unit>(&mut self, name: String, unit: &T) -> Result<(), FormatError> {
        self.put_encoded(EncodedUnit::of(name, unit)?)
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

impl EncodedUnit {
    /// Encodes one of several units of a kind, as in `vcpu/3`.
    ///
    /// # Errors
    /// It is too long or cannot be encoded; or the instance's name is too long or has control characters.
    pub fn instance<T: Unit>(instance: &str, unit: &T) -> Result<Self, FormatError> {
        Self::of(name_of::<T>(Some(instance)), unit)
    }

    fn of<T: Unit>(name: String, unit: &T) -> Result<Self, FormatError> {
        if !is_name(&name) {
            return Err(FormatError::Name { place: format!("unit {name:?}") });
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
        let mut bytes = header.bytes();
        bytes.extend(header.crc(name.as_bytes(), &payload).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(payload);
        Ok(Self { name, bytes })
    }
}

/// Whether a unit may be called so.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}
