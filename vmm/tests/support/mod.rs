//! What the API's tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]
pub mod bed;
pub mod client;
pub mod fake;
pub mod raw;
