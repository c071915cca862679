//! A guest that resets its devices and sets them up again in a loop goes back and forth between two processes: none of its migrations
//! fails or stalls, whatever they find under way.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod processes;
mod support;

use serde_json::json;
use stillpoint_guest::Order;
use stillpoint_guest::driver::{Command, storm};

use processes::process::Process;
use processes::{Guest, Wanted, await_listener, count, socket};
use support::Bed;

/// Files and threads that are on their way out.
const FEW: usize = 6;

#[test]
fn devices_are_set_up_again_and_again_while_the_vm_goes_from_process_to_process() {
    let bed = Bed::new();
    let [mut here, mut there] = ["left", "right"].map(|name| Process::start(&bed, name));
    let storm = bed.directory.path().join("storm");
    std::fs::write(&storm, vec![0xD1; 1 << 20]).expect("image");
    let wanted = Wanted {
        devices: json!({"disks": [{"path": storm, "id": "storm"}], "rng": {"src": "/dev/urandom"}}),
        orders: |slot| {
            let what = storm::WINDOW | storm::MOVE_BAR;
            let order = |command, arguments| Order { command, arguments };
            vec![
                order(Command::Patrol, vec![256, 7, 0]),
                order(Command::Storm, vec![slot("storm"), what | storm::REQUESTS, 1]),
                order(Command::Storm, vec![slot("__rng"), what, 2]),
            ]
        },
    };
    let mut guest = Guest::boot(&bed, &here, &wanted);
    let rounds = count("STILLPOINT_PROCESS_MIGRATIONS", 24);
    let mut at_first = None;
    for round in 0..rounds {
        // Now and then at once, in the middle of whatever the last one left under way.
        if round % 3 != 2 {
            guest.goes_on(&[&here, &there]);
        }
        migrate(&bed, &here, &there, round);
        assert_eq!((here.state(), there.state()), (None, Some("Running".to_owned())));
        if round >= 4 {
            // Nothing is left behind in a process that the VM has left, but for a connection or two of this test that are being closed.
            let (files, threads) = here.has();
            let first = *at_first.get_or_insert((files, threads));
            let more = files > first.0 + FEW || threads > first.1 + FEW;
            assert!(!more, "round {round}: {files} files, {threads} threads, at first {first:?}");
        }
        std::mem::swap(&mut here, &mut there);
        if (round + 1) % 100 == 0 {
            eprintln!("{} migrations, {} leases", round + 1, guest.sequence());
        }
    }
    guest.goes_on(&[&here, &there]);
    here.put("vm.pause", None).expect("paused");
    guest.stands_still(&[&here, &there]);
}

fn migrate(bed: &Bed, here: &Process, there: &Process, round: u64) {
    let link = socket(bed, "link", &round.to_string());
    let url = format!("unix:{}", link.display());
    std::thread::scope(|scope| {
        let body = json!({"receiver_url": url});
        let received = scope.spawn(move || there.put("vm.receive-migration", Some(&body)));
        await_listener(&link, || received.is_finished());
        let compression = ["None", "Lz4", "Zstd"][usize::try_from(round % 3).expect("few")];
        let body = json!({
            "destination_url": url, "connections": 1 + round % 4, "compression": compression
        });
        let sent = here.put("vm.send-migration", Some(&body));
        let received = received.join().expect("no panic");
        let what = || format!("round {round}: {}{}", here.report(), there.report());
        assert_eq!((&sent, &received), (&Ok(()), &Ok(())), "{}", what());
    });
}
