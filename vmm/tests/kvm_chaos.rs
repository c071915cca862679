//! Many clients at once, in any order: every answer is one that is documented, and whatever came
//! last, the VM can be brought to run and be got rid of.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

mod embedded;
mod support;

use std::time::{Duration, Instant};

use embedded::tiny;
use support::bed::{Bed, create};
use support::raw::Client;
use vmm::control::Ended;

const CLIENTS: u64 = 5;

/// What a request may be answered with while there is a VM, whatever its phase.
const REQUESTS: [(&str, &str, &[u16]); 10] = [
    ("PUT", "vm.pause", &[204, 405]),
    ("PUT", "vm.pause", &[204, 405]),
    ("PUT", "vm.resume", &[204, 405]),
    ("PUT", "vm.resume", &[204, 405]),
    ("GET", "vm.info", &[200]),
    ("GET", "vm.counters", &[200]),
    ("PUT", "vm.nmi", &[204, 405]),
    ("PUT", "vm.reboot", &[204, 405]),
    ("PUT", "vm.shutdown", &[204, 405]),
    ("PUT", "vm.boot", &[204, 405]),
];

/// A linear congruential generator (Knuth's MMIX): each client's requests are the same in every
/// run, only how they interleave is not.
fn numbers(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    }
}

/// Lets many clients loose for a while.
fn hammer(bed: &Bed, request: impl Fn(&mut Client, usize) + Sync) {
    let end = Instant::now() + Duration::from_millis(1200);
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let (mut client, request) = (bed.client(), &request);
            scope.spawn(move || {
                let mut number = numbers(seed);
                while Instant::now() < end {
                    request(&mut client, number());
                }
            });
        }
    });
}

/// One of the requests that do not take the VM away.
fn any_request(client: &mut Client, number: usize) {
    let (method, path, allowed) = REQUESTS[number % REQUESTS.len()];
    let answer = client.request(method, path, "");
    assert!(allowed.contains(&answer.status), "{path}: {answer:?}");
}

fn ends_well(bed: Bed) {
    let mut client = bed.client();
    let _ = client.request("PUT", "vm.shutdown", "");
    for path in ["vm.boot", "vm.pause", "vm.resume", "vm.delete"] {
        let answer = client.request("PUT", path, "");
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
    }
    assert_eq!(client.request("GET", "vm.info", "").status, 404);
    bed.end();
}

fn with_vm(config: &str) -> Bed {
    let bed = Bed::new();
    let mut client = bed.client();
    assert_eq!(client.request("PUT", "vm.create", config).status, 204);
    assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
    bed
}

#[test]
fn of_a_vm_that_spins_storms_or_sleeps() {
    for mode in ["busy", "io", "halt"] {
        let bed = with_vm(&create(4, &format!("mode={mode}")));
        hammer(&bed, any_request);
        ends_well(bed);
    }
}

#[test]
fn of_a_vm_that_resets_itself_all_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = directory.path().join("kernel");
    // lidt [200800h], an IDT of no entries; ud2.
    let triple_fault = [0x0F, 0x01, 0x1C, 0x25, 0x00, 0x08, 0x20, 0x00, 0x0F, 0x0B];
    std::fs::write(&kernel, tiny::elf(&triple_fault)).unwrap();
    let bed = with_vm(&format!(r#"{{"payload": {{"kernel": {:?}}}}}"#, kernel.to_str().unwrap()));
    hammer(&bed, any_request);
    // Resume may find it reset, but it never ends by that.
    ends_well(bed);
}

#[test]
fn of_a_vm_that_comes_and_goes() {
    let config = create(2, "mode=busy");
    let bed = with_vm(&config);
    hammer(&bed, |client, number| {
        let (method, path, allowed) = match number % 12 {
            10 => ("PUT", "vm.create", &[204, 500][..]),
            11 => ("PUT", "vm.delete", &[204][..]),
            which => REQUESTS[which],
        };
        let body = if path == "vm.create" { config.as_str() } else { "" };
        let answer = client.request(method, path, body);
        let known = allowed.contains(&answer.status) || answer.status == 404;
        assert!(known, "{path}: {answer:?}");
    });
    let mut client = bed.client();
    let _ = client.request("PUT", "vm.delete", "");
    assert_eq!(client.request("PUT", "vm.create", &config).status, 204);
    assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
    ends_well(bed);
}

#[test]
fn of_a_vmm_that_ends_meanwhile() {
    for _ in 0..5 {
        let bed = with_vm(&create(4, "mode=busy"));
        let mut ender = bed.client();
        std::thread::scope(|scope| {
            for seed in 0..CLIENTS {
                let mut client = bed.client();
                scope.spawn(move || {
                    let mut number = numbers(seed);
                    loop {
                        let (method, path, allowed) = REQUESTS[number() % REQUESTS.len()];
                        let answer = client.request(method, path, "");
                        if answer.status == 500 {
                            assert_eq!(answer.body, r#"["the VMM is shutting down"]"#);
                            break;
                        }
                        let known = allowed.contains(&answer.status);
                        assert!(known || answer.status == 404, "{path}: {answer:?}");
                    }
                });
            }
            assert_eq!(ender.request("PUT", "vmm.shutdown", "").status, 204);
        });
        assert_eq!(bed.thread.wait(), Ended::Requested);
        bed.server.stop();
    }
}
