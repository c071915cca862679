//! A VMM that is killed while it saves its VM, at any instant: under the snapshot's name there is the whole of it, from which the guest
//! goes on as if nothing had been, or nothing; what is incomplete is refused by its name.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod processes;
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use stillpoint_guest::Order;
use stillpoint_guest::driver::Command;

use processes::process::Process;
use processes::{Guest, Wanted, count, rest};
use support::Bed;

#[test]
fn a_vmm_that_is_killed_while_it_saves_leaves_a_whole_snapshot_or_none_of_that_name() {
    let bed = Bed::new();
    let mut process = Process::start(&bed, "first");
    let wanted = Wanted {
        devices: json!({}),
        orders: |_| vec![Order { command: Command::Patrol, arguments: vec![768, 3, 0] }],
    };
    let mut guest = Guest::boot(&bed, &process, &wanted);
    let mut usual = Duration::ZERO;
    let (mut whole, mut incomplete) = (0, 0);
    for round in 0..count("STILLPOINT_SNAPSHOT_KILLS", 12) {
        let directory = bed.directory.path().join(format!("snapshot-{round}"));
        let url = format!("file://{}", directory.display());
        let body = json!({"destination_url": url, "live": round % 2 == 1});
        // The disk stays as it is in the snapshot.
        process.put("vm.pause", None).expect("paused");
        guest.stands_still(&[&process]);
        let begun = Instant::now();
        let saved = std::thread::scope(|scope| {
            let saving = scope.spawn(|| process.put("vm.snapshot", Some(&body)));
            if round > 0 {
                // From before the first byte to after the last.
                rest(usual.mul_f64(f64::from(u32::try_from(round * 37 % 64).expect("few")) / 48.0));
                process.kill();
            }
            saving.join().expect("no panic")
        });
        usual = usual.max(begun.elapsed());
        process.kill();
        process.wait();
        process = Process::start(&bed, &format!("next-{round}"));
        let work = bed.directory.path().join(format!("snapshot-{round}.incomplete"));
        assert!(!(directory.exists() && work.exists()), "both are there");
        if work.exists() {
            let url = format!("file://{}", work.display());
            let error = process.put("vm.restore", Some(&json!({"source_url": url})));
            let error = error.expect_err("it is incomplete");
            assert!(error.contains("is an incomplete snapshot"), "{error}");
            incomplete += 1;
        }
        assert!(directory.exists() || saved.is_err(), "it was said to be there");
        if directory.exists() {
            let body = json!({"source_url": url, "resume": true});
            process.put("vm.restore", Some(&body)).expect("restored");
            guest.goes_on(&[&process]);
            whole += 1;
        } else {
            assert_eq!(process.state(), None);
            guest.begin(&process);
        }
        for path in [directory, work] {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    eprintln!("{whole} whole, {incomplete} incomplete");
    assert!(whole > 0, "the first one is not disturbed");
}
