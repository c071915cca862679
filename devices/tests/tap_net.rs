//! The network card on real taps: each test in a network namespace of its own, which ends with its thread.
//!
//! They need `/dev/net/tun` and CAP_NET_ADMIN; the suite `tap` leaves them out where these are missing.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests say what they expected"
)]

#[path = "tap_net/bed.rs"]
mod bed;
#[path = "tap_net/frame.rs"]
mod frame;
#[path = "tap_net/offloads.rs"]
mod offloads;
#[path = "tap_net/opening.rs"]
mod opening;
#[path = "tap_net/packets.rs"]
mod packets;
