//! What can be wrong with saved state.

use super::{FORMAT_VERSION, MAX_NAME, MAX_PAYLOAD};

/// Why state cannot be written or read. Wherever a unit is at fault it is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The first bytes are not those of saved state.
    #[error("this is not saved state: it does not begin with the magic bytes")]
    Magic,
    /// The stream's header does not agree with its checksum.
    #[error("the header of the saved state is damaged: its checksum is wrong")]
    HeaderChecksum,
    /// The layout of the stream is of another version.
    #[error(
        "the saved state has format version {found}; this program reads version {FORMAT_VERSION}"
    )]
    FormatVersion {
        /// The version that was found.
        found: u16,
    },
    /// The bytes end too early.
    #[error("the saved state ends within {place}")]
    Truncated {
        /// What was being read.
        place: String,
    },
    /// There are bytes behind the last unit.
    #[error("{bytes} bytes are left over behind the last unit of the saved state, {last}")]
    TrailingBytes {
        /// How many.
        bytes: usize,
        /// The last unit's name.
        last: String,
    },
    /// Where a unit should begin there is something else.
    #[error("{place} does not begin with the magic bytes of a unit")]
    UnitMagic {
        /// Which unit, by its place.
        place: String,
    },
    /// A name is no name.
    #[error("{place} has no valid name: 1 to {MAX_NAME} bytes of text without control characters")]
    Name {
        /// Which unit, by its place or the name that is none.
        place: String,
    },
    /// A unit does not agree with its checksum.
    #[error("unit {unit} is damaged: its checksum is wrong")]
    UnitChecksum {
        /// The unit.
        unit: String,
    },
    /// A payload is longer than may be.
    #[error("unit {unit} has {bytes} bytes; at most {MAX_PAYLOAD} are allowed")]
    TooLong {
        /// The unit.
        unit: String,
        /// Its length.
        bytes: usize,
    },
    /// There are two units of one name.
    #[error("unit {unit} is there twice")]
    Duplicate {
        /// The unit.
        unit: String,
    },
    /// A unit that is needed is not there.
    #[error("unit {unit} is missing")]
    Missing {
        /// The unit.
        unit: String,
    },
    /// A unit is of another version than the program's.
    #[error("unit {unit} has version {found}; this program reads version {known}")]
    UnitVersion {
        /// The unit.
        unit: String,
        /// The version that was found.
        found: u16,
        /// The version that is known.
        known: u16,
    },
    /// A payload is not an encoding of the unit's type.
    #[error("unit {unit} cannot be {action}: {reason}")]
    Payload {
        /// The unit.
        unit: String,
        /// What was tried: encoded or decoded.
        action: &'static str,
        /// What the codec says.
        reason: String,
    },
    /// A payload goes on behind the unit's type.
    #[error("unit {unit} has {bytes} bytes left over")]
    LeftOverBytes {
        /// The unit.
        unit: String,
        /// How many.
        bytes: usize,
    },
    /// Units that nobody asked for.
    #[error("nothing here knows these units of the saved state: {}", units.join(", "))]
    LeftOver {
        /// Their names.
        units: Vec<String>,
    },
}
