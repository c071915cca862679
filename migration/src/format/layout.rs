//! The bytes of headers.

use super::{FORMAT_VERSION, FormatError};

const STREAM_MAGIC: [u8; 8] = *b"STILLPT\0";
const UNIT_MAGIC: [u8; 4] = *b"UNIT";

/// The header of a stream with so many units.
pub(super) fn stream_header(units: u32) -> Vec<u8> {
    let mut bytes = STREAM_MAGIC.to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(units.to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Takes the header off; how many units follow.
pub(super) fn take_stream_header(bytes: &mut Bytes<'_>) -> Result<u32, FormatError> {
    let all = bytes.0;
    if bytes.take(STREAM_MAGIC.len()) != Some(&STREAM_MAGIC) {
        return Err(FormatError::Magic);
    }
    let mut fields = || Some((bytes.u16()?, bytes.u16()?, bytes.u32()?, bytes.u32()?));
    let (version, reserved, units, crc) = fields().ok_or_else(|| truncated("its header"))?;
    // The version first: another one may have another checksum.
    if version != FORMAT_VERSION {
        return Err(FormatError::FormatVersion { found: version });
    }
    let covered = all.len() - bytes.0.len() - size_of::<u32>();
    if crc32c::crc32c(&all[..covered]) != crc || reserved != 0 {
        return Err(FormatError::HeaderChecksum);
    }
    Ok(units)
}

/// The header of a unit, its name behind it.
pub(super) struct UnitHeader {
    pub(super) version: u16,
    pub(super) name_len: u16,
    pub(super) payload_len: u32,
}

impl UnitHeader {
    /// Reads one with its checksum; `place` is the unit's for the error.
    pub(super) fn take(bytes: &mut Bytes<'_>, place: &str) -> Result<(Self, u32), FormatError> {
        let magic = bytes.take(UNIT_MAGIC.len()).ok_or_else(|| truncated(place))?;
        if magic != UNIT_MAGIC {
            return Err(FormatError::UnitMagic { place: place.to_owned() });
        }
        let mut fields = || Some((bytes.u16()?, bytes.u16()?, bytes.u32()?, bytes.u32()?));
        let (version, name_len, payload_len, crc) = fields().ok_or_else(|| truncated(place))?;
        Ok((Self { version, name_len, payload_len }, crc))
    }

    /// The bytes that the checksum stands behind.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = UNIT_MAGIC.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.name_len.to_le_bytes());
        bytes.extend(self.payload_len.to_le_bytes());
        bytes
    }

    /// The checksum of a unit.
    pub(super) fn crc(&self, name: &[u8], payload: &[u8]) -> u32 {
        let header = crc32c::crc32c(&self.bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(header, name), payload)
    }
}

pub(super) fn truncated(place: &str) -> FormatError {
    FormatError::Truncated { place: place.to_owned() }
}

/// Bytes that are taken from the front.
pub(super) struct Bytes<'b>(pub(super) &'b [u8]);

impl<'b> Bytes<'b> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
}

/// Makes the checksums of a stream right, as far as it has the shape of one: for fuzzers, which would not get further.
#[cfg(feature = "testing")]
pub(crate) fn reseal(bytes: &mut [u8]) {
    const STREAM: usize = STREAM_MAGIC.len() + 12;
    const UNIT: usize = UNIT_MAGIC.len() + 12;
    let Some((header, mut rest)) = bytes.split_at_mut_checked(STREAM) else { return };
    let crc = crc32c::crc32c(&header[..STREAM - 4]);
    header[STREAM - 4..].copy_from_slice(&crc.to_le_bytes());
    while let Some((header, behind)) = rest.split_at_mut_checked(UNIT) {
        let Ok((fields, _)) = UnitHeader::take(&mut Bytes(header), "") else { return };
        let payload_len = usize::try_from(fields.payload_len).unwrap_or(usize::MAX);
        let len = usize::from(fields.name_len).saturating_add(payload_len);
        let Some((contents, next)) = behind.split_at_mut_checked(len) else { return };
        let crc = fields.crc(contents, &[]);
        header[UNIT - 4..].copy_from_slice(&crc.to_le_bytes());
        rest = next;
    }
}
