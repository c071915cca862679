//! The API with the real VMM behind it, by a client of Cloud Hypervisor and by hand.

#![expect(clippy::unwrap_used, reason = "a test ends where its premise fails")]
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]

mod embedded;
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::raw::{Answer, Client};
use vmm::api::ApiServer;
use vmm::control::{Ended, Vmm, VmmOptions, VmmThread};

/// A VMM with its API.
struct Bed {
    directory: tempfile::TempDir,
    server: ApiServer,
    thread: VmmThread,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (vmm, thread) = Vmm::start(VmmOptions::default()).unwrap();
        let server = ApiServer::start(&directory.path().join("api.sock"), vmm).unwrap();
        Self { directory, server, thread }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    fn client(&self) -> Client {
        let client = Client::connect(&self.socket());
        client.set_timeout(embedded::HANG);
        client
    }

    /// Ends it by its API.
    fn end(self) {
        let _ = self.client().request("PUT", "vmm.shutdown", "");
        assert_eq!(self.thread.wait(), Ended::Requested);
        self.server.stop();
        assert!(!self.directory.path().join("api.sock").exists());
    }
}

fn create(vcpus: u32, cmdline: &str) -> String {
    format!(
        r#"{{"cpus": {{"boot_vcpus": {vcpus}, "max_vcpus": {vcpus}}},
            "memory": {{"size": 67108864}},
            "payload": {{"cmdline": "{cmdline}"}},
            "serial": {{"mode": "Null"}}, "console": {{"mode": "Off"}}}}"#
    )
}

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

/// What a request may be answered with, whatever the phase is.
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

/// A linear congruential generator (Knuth's MMIX): the order of requests, the same in every run.
fn numbers(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    }
}

#[test]
fn many_clients_in_any_order_get_documented_answers() {
    const CLIENTS: u64 = 5;
    for mode in ["busy", "io", "halt"] {
        let bed = Bed::new();
        let mut client = bed.client();
        assert_eq!(
            client.request("PUT", "vm.create", &create(4, &format!("mode={mode}"))).status,
            204
        );
        assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
        let until = Instant::now() + Duration::from_millis(1500);
        std::thread::scope(|scope| {
            for seed in 0..CLIENTS {
                let mut client = bed.client();
                scope.spawn(move || {
                    let mut number = numbers(seed);
                    while Instant::now() < until {
                        let (method, path, allowed) = REQUESTS[number() % REQUESTS.len()];
                        let answer = client.request(method, path, "");
                        assert!(allowed.contains(&answer.status), "{path}: {answer:?}");
                    }
                });
            }
        });
        // Whatever came last: it can be brought to run, be paused, and be got rid of.
        let _ = client.request("PUT", "vm.shutdown", "");
        assert_eq!(client.request("PUT", "vm.boot", "").status, 204, "{mode}");
        assert_eq!(client.request("PUT", "vm.pause", "").status, 204, "{mode}");
        assert_eq!(client.request("PUT", "vm.resume", "").status, 204, "{mode}");
        assert_eq!(client.request("PUT", "vm.delete", "").status, 204, "{mode}");
        assert_eq!(client.request("GET", "vm.info", "").status, 404, "{mode}");
        bed.end();
    }
}
