//! Saved state: a stream of named, versioned units.
//!
//! ```text
//!   stream = "STILLPT\0" | format version u16 | 0 u16 | units u32 | CRC32C of these u32
//!            then, for each unit:
//!   unit   = "UNIT" | version u16 | name's length u16 | payload's length u32 | CRC32C u32 | name | payload
//! ```
//!
//! Numbers are little-endian. A unit's CRC covers the twelve bytes before it, the name and the payload, which is
//! the type's postcard encoding. A name is the type's [`KIND`](Unit::KIND), or `KIND/INSTANCE` where there are several.
//!
//! ```text
//!   save:     StateWriter::new ──put, put_instance──▶ … ──finish──▶ bytes
//!   restore:  StateReader::parse(bytes) ──take, take_instance──▶ … ──finish──▶ nothing may be left over
//! ```
//!
//! Invariants:
//! - What is read is what was written, or an error that names the unit: one that is missing, there twice, of another
//!   version, damaged, longer than its type, or asked for by nobody.
//! - Who restores says what it needs; the stream never decides what is made.
//! - Reading allocates no more than a small multiple of the bytes that are there. (A unit's type holds no sequence of
//!   elements without a size, of which a few bytes could promise any number.)

mod error;
mod layout;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use error::FormatError;
#[cfg(feature = "testing")]
pub(crate) use layout::reseal;
pub use reader::{StateReader, TakenUnit, UnitSummary};
pub use writer::{EncodedUnit, StateWriter};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the stream's layout; units have versions of their own.
pub const FORMAT_VERSION: u16 = 1;
/// The longest name of a unit, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest payload of a unit, in bytes.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// A part of a VM's state, saved and restored as one.
///
/// The type is made for saving and for nothing else: its fields, their order and their types are the format of
/// [`VERSION`](Self::VERSION), and a change of any is a new version.
pub trait Unit: Serialize + DeserializeOwned {
    /// What it is, as in `vcpu` or `virtio-block`; no slash.
    const KIND: &'static str;
    /// The version of its contents.
    const VERSION: u16;
}

/// The name of a unit in its stream.
fn name_of<T: Unit>(instance: Option<&str>) -> String {
    match instance {
        None => T::KIND.to_owned(),
        Some(instance) => format!("{}/{instance}", T::KIND),
    }
}
