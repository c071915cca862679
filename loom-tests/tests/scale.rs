//! The protocol at the size of a machine, under bounded numbers of random schedules.
#![cfg(shuttle)]

use loom_tests::kvm::Handler;
use loom_tests::scale;

/// Fixed, so that a failure fails again; `cargo run -p loom-tests` under the flag takes others.
const SEED: u64 = 0x5711_1b01;

#[test]
fn random_schedules() {
    scale::random(Handler::StoreImmediateExit, SEED, 1500);
}

#[test]
fn schedules_by_priority() {
    for depth in [2, 3, 5] {
        scale::pct(Handler::StoreImmediateExit, SEED, depth, 500);
    }
}

/// The model is able to fail: with the handler of `races::a::lost_kick` a kick is lost.
#[test]
#[should_panic(expected = "deadlock")]
fn a_kick_is_lost_where_the_handler_does_nothing() {
    scale::random(Handler::Empty, SEED, 1500);
}
