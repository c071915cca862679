//! The API with the real VMM behind it, by a client of Cloud Hypervisor and by hand.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

mod embedded;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::bed::{Bed, create};
use support::raw::Answer;
use vmm::control::Ended;

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status, &answer.body)
}

#[test]
fn cloud_hypervisors_client_drives_every_request() {
    let bed = Bed::new();
    support::client::drive_every_request(&bed.socket());
    assert_eq!(bed.thread.wait(), Ended::Requested);
    bed.server.stop();
}

#[test]
fn cloud_hypervisors_client_saves_restores_and_migrates() {
    let [here, there] = [Bed::new(), Bed::new()];
    let directory = here.directory.path();
    support::client::drive_transfers([&here.socket(), &there.socket()], directory);
    here.end();
    there.end();
}

#[test]
fn wrong_requests_are_told_and_change_nothing() {
    let bed = Bed::new();
    let mut client = bed.client();
    for broken in ["{", "[]", "{\"cpus\": 4}", "{\"kernel\": ", "\u{7f}", "{\"payloda\": {}}"] {
        let answer = client.request("PUT", "vm.create", broken);
        assert_eq!(answer.status, 400, "{broken}: {answer:?}");
        let chain: Vec<String> = serde_json::from_str(&answer.body).unwrap();
        assert!(!chain[0].is_empty());
        assert_eq!(client.request("GET", "vm.info", "").status, 404, "{broken}");
    }
    assert_eq!(client.request("PUT", "vm.create", &create(2, "mode=busy")).status, 204);
    let refused = client.request("PUT", "vm.reboot", "");
    let expected = r#"["cannot reboot a VM that is Created; it must be Running or Paused"]"#;
    assert_eq!(told(&refused), (405, expected));
    assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
    let refused = client.request("PUT", "vm.resume", "");
    let expected = r#"["cannot resume a VM that is Running; it must be Paused"]"#;
    assert_eq!(told(&refused), (405, expected));
    for (method, path, status) in [
        ("GET", "vm.pause", 405),
        ("PUT", "vm.info", 405),
        ("PUT", "vm.explode", 404),
        ("PUT", "vm.boot", 405),
        ("PUT", "vm.create", 400),
    ] {
        let answer = client.request(method, path, "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let info = client.request("GET", "vm.info", "");
        assert!(info.body.contains(r#""state":"Running""#), "{path}: {}", info.body);
    }
    bed.end();
}

#[test]
fn a_vm_that_cannot_be_built_is_an_error_of_the_boot() {
    let bed = Bed::new();
    let mut client = bed.client();
    let kernel = bed.directory.path().join("kernel");
    std::fs::write(&kernel, "I am no kernel").unwrap();
    let config = format!(r#"{{"payload": {{"kernel": {:?}}}}}"#, kernel.to_str().unwrap());
    assert_eq!(client.request("PUT", "vm.create", &config).status, 204);
    for _ in 0..2 {
        let answer = client.request("PUT", "vm.boot", "");
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.body.contains("not a kernel"), "{answer:?}");
        let info = client.request("GET", "vm.info", "");
        assert!(info.body.contains(r#""state":"Created""#), "{info:?}");
    }
    std::fs::write(&kernel, embedded::tiny::elf(&embedded::tiny::STOP)).unwrap();
    assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
    assert_eq!(client.request("PUT", "vm.delete", "").status, 204);
    bed.end();
}

#[test]
fn info_is_answered_while_a_vm_boots_and_pauses() {
    let bed = Bed::new();
    assert_eq!(bed.client().request("PUT", "vm.create", &create(64, "mode=busy")).status, 204);
    let done = Arc::new(AtomicBool::new(false));
    let asking = {
        let (mut client, done) = (bed.client(), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut states = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let info = client.request("GET", "vm.info", "");
                assert_eq!(info.status, 200, "{info:?}");
                assert_eq!(client.request("GET", "vm.counters", "").status, 200);
                let info: serde_json::Value = serde_json::from_str(&info.body).unwrap();
                let state = info["state"].as_str().unwrap().to_owned();
                // Either every vCPU is told or none, whatever the instant.
                assert!(matches!(info["vcpus"].as_array().unwrap().len(), 0 | 64), "{info}");
                if states.last() != Some(&state) {
                    states.push(state);
                }
            }
            states
        })
    };
    let mut client = bed.client();
    assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
    for _ in 0..5 {
        assert_eq!(client.request("PUT", "vm.pause", "").status, 204);
        assert_eq!(client.request("PUT", "vm.resume", "").status, 204);
    }
    done.store(true, Ordering::SeqCst);
    let states = asking.join().unwrap();
    assert!(states.iter().all(|s| ["Created", "Running", "Paused"].contains(&&**s)), "{states:?}");
    bed.end();
}
