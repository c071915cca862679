//! Section.
use crate::model::Model;
/// The entries.
pub const MODELS: &[Model] = &[];
