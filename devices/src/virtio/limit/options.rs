//! What limits are made from.

use std::time::Duration;

/// What the guest may move in a time; nothing set is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are read or written (`bw_size`, …); packets without their headers for the card.
    pub bandwidth: Option<TokenBucket>,
    /// Requests or packets (`ops_size`, …).
    pub operations: Option<TokenBucket>,
}

/// A bucket that holds `size` tokens and is filled at a constant rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// Tokens in a full bucket: what can be spent at once.
    pub size: u64,
    /// Tokens on top, once.
    pub one_time_burst: u64,
    /// How long it takes to fill an empty bucket.
    pub refill_time: Duration,
}
