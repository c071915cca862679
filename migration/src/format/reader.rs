//! Reading state.

use std::collections::BTreeMap;

use super::layout::{Bytes, UnitHeader, take_stream_header, truncated};
use super::writer::is_name;
use super::{FormatError, MAX_PAYLOAD, Unit, name_of};

/// The units of a stream, until they are asked for.
#[derive(Debug)]
pub struct StateReader<'b> {
    units: BTreeMap<&'b str, Found<'b>>,
}

#[derive(Debug)]
struct Found<'b> {
    version: u16,
    payload: &'b [u8],
}

/// A unit that was taken, for any thread to decode.
#[derive(Debug)]
pub struct TakenUnit<'b> {
    name: String,
    found: Found<'b>,
}

/// What a stream says of one of its units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSummary {
    /// Its name, `KIND` or `KIND/INSTANCE`.
    pub name: String,
    /// The version of its contents.
    pub version: u16,
    /// The length of its contents, in bytes.
    pub bytes: usize,
}

impl<'b> StateReader<'b> {
    /// Finds the units of a stream and checks their checksums.
    ///
    /// # Errors
    /// The bytes are not one whole, undamaged stream of units with different names.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, FormatError> {
        let mut bytes = Bytes(bytes);
        let count = take_stream_header(&mut bytes)?;
        let mut units = BTreeMap::new();
        let mut last = "its header";
        for place in 0..count {
            let (name, found) = take_unit(&mut bytes, place, last)?;
            if units.insert(name, found).is_some() {
                return Err(FormatError::Duplicate { unit: name.to_owned() });
            }
            last = name;
        }
        if !bytes.0.is_empty() {
            let (bytes, last) = (bytes.0.len(), last.to_owned());
            return Err(FormatError::TrailingBytes { bytes, last });
        }
        Ok(Self { units })
    }

    /// Takes the only unit of its kind.
    ///
    /// # Errors
    /// It is not there (or was taken before), has another version, or its payload is not one value of the type.
    pub fn take<T: Unit>(&mut self) -> Result<T, FormatError> {
        self.remove(name_of::<T>(None))
    }

    /// Takes one of several units of a kind.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_instance<T: Unit>(&mut self, instance: &str) -> Result<T, FormatError> {
        self.remove(name_of::<T>(Some(instance)))
    }

    /// Takes one of several units of a kind, to be decoded later.
    ///
    /// # Errors
    /// It is not there, or was taken before.
    pub fn take_encoded<T: Unit>(&mut self, instance: &str) -> Result<TakenUnit<'b>, FormatError> {
        self.find(name_of::<T>(Some(instance)))
    }

    fn remove<T: Unit>(&mut self, unit: String) -> Result<T, FormatError> {
        self.find(unit)?.decode()
    }

    fn find(&mut self, name: String) -> Result<TakenUnit<'b>, FormatError> {
        match self.units.remove(name.as_str()) {
            Some(found) => Ok(TakenUnit { name, found }),
            None => Err(FormatError::Missing { unit: name }),
        }
    }

    /// What is there and has not been taken, by name.
    pub fn summary(&self) -> impl Iterator<Item = UnitSummary> {
        self.units.iter().map(|(name, found)| UnitSummary {
            name: (*name).to_owned(),
            version: found.version,
            bytes: found.payload.len(),
        })
    }

    /// Ends the restore.
    ///
    /// # Errors
    /// Units that nobody has taken: the state is that of a VM with more than what was restored.
    pub fn finish(self) -> Result<(), FormatError> {
        if self.units.is_empty() {
            return Ok(());
        }
        Err(FormatError::LeftOver { units: self.units.into_keys().map(str::to_owned).collect() })
    }
}

impl TakenUnit<'_> {
    /// What is in it.
    ///
    /// # Errors
    /// It has another version, or its payload is not one value of the type.
    pub fn decode<T: Unit>(&self) -> Result<T, FormatError> {
        let (unit, found) = (self.name.clone(), &self.found);
        if found.version != T::VERSION {
            let (found, known) = (found.version, T::VERSION);
            return Err(FormatError::UnitVersion { unit, found, known });
        }
        match postcard::take_from_bytes(found.payload) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(FormatError::LeftOverBytes { unit, bytes: rest.len() }),
            Err(error) => {
                Err(FormatError::Payload { unit, action: "decoded", reason: error.to_string() })
            }
        }
    }
}

fn take_unit<'b>(
    bytes: &mut Bytes<'b>,
    place: u32,
    last: &str,
) -> Result<(&'b str, Found<'b>), FormatError> {
    let place = format!("unit {} (behind {last})", u64::from(place) + 1);
    let (header, crc) = UnitHeader::take(bytes, &place)?;
    let name = bytes.take(usize::from(header.name_len)).ok_or_else(|| truncated(&place))?;
    let name = str::from_utf8(name).ok().filter(|name| is_name(name));
    let name = name.ok_or(FormatError::Name { place })?;
    let len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
    if len > MAX_PAYLOAD {
        return Err(FormatError::TooLong { unit: name.to_owned(), bytes: len });
    }
    let payload = bytes.take(len).ok_or_else(|| truncated(&format!("unit {name}")))?;
    if header.crc(name.as_bytes(), payload) != crc {
        return Err(FormatError::UnitChecksum { unit: name.to_owned() });
    }
    Ok((name, Found { version: header.version, payload }))
}
