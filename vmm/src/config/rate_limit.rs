//! Limits on a device's requests: `bw_size=1M,bw_refill_time=100,ops_size=1000,ops_refill_time=100`.
//!
//! Each limit is a token bucket: it holds `size` tokens (bytes, or requests), and is refilled evenly
//! so that an empty one is full after `refill_time` milliseconds. In the JSON the two buckets stand in
//! `rate_limiter_config`.
use serde::{Deserialize, Serialize};

use super::error::{OptionError, OptionProblem};
use super::options::{Options, Printed};
use super::values::{parse_integer, parse_size, print_size};

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBucket {
    /// Tokens that it holds: bytes or requests.
    pub size: u64,
    /// Tokens that are there once, at the beginning, on top of `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
    /// Milliseconds in which an empty bucket gets full.
    pub refill_time: u64,
}

/// Both limits of a device; without any, nothing is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimiterConfig {
    /// In bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// In requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

/// The option keys of one bucket, and what its tokens are.
struct Keys {
    size: &'static str,
    burst: &'static str,
    refill: &'static str,
    expected: &'static str,
    parse: fn(&str) -> Option<u64>,
    print: fn(u64) -> String,
}

const BANDWIDTH: Keys = Keys {
    size: "bw_size",
    burst: "bw_one_time_burst",
    refill: "bw_refill_time",
    expected: "a number of bytes, such as 1M",
    parse: parse_size,
    print: print_size,
};

const OPS: Keys = Keys {
    size: "ops_size",
    burst: "ops_one_time_burst",
    refill: "ops_refill_time",
    expected: "a number of requests",
    parse: parse_integer,
    print: print_integer,
};

fn print_integer(value: u64) -> String {
    value.to_string()
}

impl RateLimiterConfig {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the six keys of an option string ask for.
    pub(super) fn from_options(options: &Options<'_>) -> Result<Self, OptionError> {
        Ok(Self { bandwidth: bucket(options, &BANDWIDTH)?, ops: bucket(options, &OPS)? })
    }

    pub(super) fn print(&self, printed: &mut Printed) {
        for (bucket, keys) in [(self.bandwidth, &BANDWIDTH), (self.ops, &OPS)] {
            let Some(TokenBucket { size, one_time_burst, refill_time }) = bucket else { continue };
            printed.add(keys.size, &(keys.print)(size));
            if let Some(burst) = one_time_burst {
                printed.add(keys.burst, &(keys.print)(burst));
            }
            printed.add(keys.refill, &refill_time.to_string());
        }
    }

    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        for (bucket, keys) in [(self.bandwidth, &BANDWIDTH), (self.ops, &OPS)] {
            let Some(bucket) = bucket else { continue };
            for (key, value) in [(keys.size, bucket.size), (keys.refill, bucket.refill_time)] {
                if value == 0 {
                    return Some(format!(
                        "{key} is 0, which would let nothing through; leave the limit out for none"
                    ));
                }
            }
        }
        None
    }
}

fn bucket(options: &Options<'_>, keys: &Keys) -> Result<Option<TokenBucket>, OptionError> {
    let size = options.value(keys.size, keys.expected, keys.parse)?;
    let burst = options.value(keys.burst, keys.expected, keys.parse)?;
    let refill = options.value(keys.refill, "a number of milliseconds", parse_integer)?;
    let lacks = |key: &'static str, needs: &'static str| {
        Err(options.error(OptionProblem::Incomplete { key, needs }))
    };
    match (size, burst, refill) {
        (None, None, None) => Ok(None),
        (Some(size), one_time_burst, Some(refill_time)) => {
            Ok(Some(TokenBucket { size, one_time_burst, refill_time }))
        }
        (Some(_), _, None) => lacks(keys.size, keys.refill),
        (None, _, Some(_)) => lacks(keys.refill, keys.size),
        (None, Some(_), None) => lacks(keys.burst, keys.size),
    }
}
