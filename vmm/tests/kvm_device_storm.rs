//! The storm: four vCPUs that reset, activate and move devices by every way there is, while the host pauses, adds and
//! removes devices. A bounded time of it as a test among others, as long as one likes by
//! `STILLPOINT_STORM_CYCLES` and `STILLPOINT_STORM_SECONDS`.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod embedded;
mod storm;

use storm::{Chapter, Storm};

#[test]
fn devices_are_stormed_by_four_vcpus_and_the_host_at_once() {
    let mut storm = Storm::boot();
    let mut plan = storm::Plan::from_environment();
    while plan.goes_on(storm.cycles) {
        let chapter =
            if storm.chapters.is_multiple_of(2) { Chapter::Alone } else { Chapter::Together };
        storm.play(chapter);
        plan.tell(&storm);
    }
    eprintln!("storm: {storm}");
    for (what, count) in storm.sums() {
        assert!(count > 0, "no {what} in {storm}");
    }
}
