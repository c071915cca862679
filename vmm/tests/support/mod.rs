//! What the API's tests share.
pub mod client;
pub mod fake;
pub mod raw;
