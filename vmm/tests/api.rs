//! The API over its socket, with a VMM behind it that has no VM.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use support::fake::FakeVmm;
use support::raw::Client;
use vmm::api::{ApiError, ApiServer, MAX_BODY, MAX_HEAD};

struct Bed {
    directory: tempfile::TempDir,
    control: Arc<FakeVmm>,
    server: ApiServer,
}

impl Bed {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let control = Arc::new(FakeVmm::with_forbidden("panic"));
        let server =
            ApiServer::start(&directory.path().join("api.sock"), control.clone()).expect("server");
        Self { directory, control, server }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket())
    }

    /// With a VM that runs.
    fn running() -> Self {
        let bed = Self::new();
        let mut client = bed.client();
        assert_eq!(client.request("PUT", "vm.create", "{}").status, 204);
        assert_eq!(client.request("PUT", "vm.boot", "").status, 204);
        bed
    }
}

#[test]
fn cloud_hypervisors_client_drives_every_request() {
    let bed = Bed::new();
    support::client::drive_every_request(&bed.socket());
    assert_eq!(bed.control.shutdowns.load(Ordering::SeqCst), 1);
    assert_eq!(bed.control.nmis.load(Ordering::SeqCst), 1);
    assert_eq!(bed.control.power_buttons.load(Ordering::SeqCst), 2);
    bed.server.stop();
    assert!(!bed.directory.path().join("api.sock").exists());
}

#[test]
fn cloud_hypervisors_client_changes_devices() {
    let bed = Bed::new();
    let image = bed.directory.path().join("image");
    std::fs::write(&image, "x").expect("written");
    support::client::drive_devices(&bed.socket(), &image);
}

#[test]
fn devices_of_a_vm_that_has_no_vcpus_are_configured() {
    let bed = Bed::new();
    let mut client = bed.client();
    assert_eq!(client.request("PUT", "vm.create", "{}").status, 204);
    let added = client.request("PUT", "vm.add-net", r#"{"tap":"tap-a"}"#);
    assert_eq!((added.status, added.body.as_str()), (204, ""));
    let info = client.request("GET", "vm.info", "");
    let info: serde_json::Value = serde_json::from_str(&info.body).expect("JSON");
    assert_eq!(info["config"]["net"][0]["id"], "_net0");
    let node = &info["device_tree"]["_net0"];
    assert_eq!((&node["type"], node.get("pci_bdf")), (&serde_json::json!("net"), None));
    assert_eq!(client.request("PUT", "vm.remove-device", r#"{"id":"_net0"}"#).status, 204);
}

#[test]
fn requests_about_devices_say_what_is_wrong() {
    let bed = Bed::running();
    let mut client = bed.client();
    for (path, body, status, message) in [
        ("vm.add-disk", "", 400, "vm.add-disk needs the configuration of the disk as its body"),
        ("vm.add-disk", "{}", 400, "missing field `path`"),
        ("vm.add-disk", r#"{"path":"/none/x"}"#, 400, "disk: /none/x: No such file"),
        (
            "vm.add-disk",
            r#"{"path":"/x","vhost_user":true}"#,
            400,
            "asks for something that is not",
        ),
        ("vm.add-net", "[]", 400, "the body must be a JSON object, not an array"),
        ("vm.add-net", r#"{"num_queues":3}"#, 400, "they come in pairs"),
        ("vm.add-vsock", r#"{"cid":1,"socket":"/s"}"#, 400, "vsock: cid 1: a guest has one from 3"),
        ("vm.remove-device", r#"{"id":"x"}"#, 404, "no device has the id \"x\"; there is none"),
        ("vm.remove-device", r#"{"di":"x"}"#, 400, "unknown field \"di\""),
        ("vm.resize-disk", r#"{"id":"x","desired_size":1}"#, 400, "whole number of sectors"),
        ("vm.resize-disk", r#"{"id":"x","desired_size":512}"#, 404, "no device has the id"),
        ("vm.resize", "{}", 400, "nothing is asked for"),
        ("vm.resize", r#"{"desired_vcpus":0}"#, 400, "at least one vCPU"),
        ("vm.resize", r#"{"desired_vcpus":1025}"#, 400, "the VM can have at most"),
        ("vm.resize", r#"{"desired_ram":4096}"#, 400, "nothing that could be plugged"),
        ("vm.resize", r#"{"desired_balloon":0}"#, 400, "the VM has no balloon"),
    ] {
        let answer = client.request("PUT", path, body);
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        let chain: Vec<String> = serde_json::from_str(&answer.body).expect("array of strings");
        assert!(chain.concat().contains(message), "{chain:?} lacks {message}");
        assert_eq!(client.request("GET", path, "").status, 405);
    }
}

#[test]
fn answers_have_the_right_form() {
    let bed = Bed::running();
    let mut client = bed.client();
    let ping = client.request("GET", "vmm.ping", "");
    assert_eq!(ping.status, 200);
    assert_eq!(ping.field("content-type"), Some("application/json"));
    let ping: serde_json::Value = serde_json::from_str(&ping.body).expect("JSON");
    assert_eq!(ping["pid"], std::process::id());
    for path in ["vm.nmi", "vmm.nmi"] {
        assert_eq!(client.request("PUT", path, "").status, 204);
    }
    assert_eq!(bed.control.nmis.load(Ordering::SeqCst), 2);
    let done = client.request("PUT", "vm.pause", "");
    assert_eq!((done.status, done.body.as_str()), (204, ""));
    assert_eq!(done.field("content-length"), None);
    let refused = client.request("PUT", "vm.boot", "");
    assert_eq!(refused.status, 405);
    let expected = r#"["cannot boot a VM that is Paused; it must be Created or Shutdown"]"#;
    assert_eq!(refused.body, expected);
    let info = client.request("GET", "vm.info?x=y", "");
    let info: serde_json::Value = serde_json::from_str(&info.body).expect("JSON");
    assert_eq!(info["state"], "Paused");
    assert_eq!(info["config"]["cpus"]["boot_vcpus"], 1);
}

#[test]
fn bad_requests_get_a_status_and_a_message_and_keep_the_connection() {
    let bed = Bed::new();
    let mut client = bed.client();
    for (method, path, body, status, message) in [
        ("GET", "vm.nothing", "", 404, "no such endpoint: /api/v1/vm.nothing"),
        ("GET", "vm.pause", "", 405, "vm.pause is a PUT request, not GET"),
        ("PUT", "vmm.ping", "", 405, "vmm.ping is a GET request, not PUT"),
        ("DELETE", "vm.delete", "", 405, "vm.delete is a PUT request, not DELETE"),
        ("PUT", "vm.boot", "{}", 400, "vm.boot takes no body"),
        ("PUT", "vm.boot", "", 404, "no VM has been created"),
        ("PUT", "vm.create", "", 400, "vm.create needs the configuration"),
        ("PUT", "vm.create", "{", 400, "malformed JSON: EOF"),
        ("PUT", "vm.create", "\u{0}", 400, "malformed JSON"),
        ("PUT", "vm.create", "[]", 400, "must be a JSON object"),
        ("PUT", "vm.create", r#"{"cpsu":{}}"#, 400, r#"did you mean \"cpus\"?"#),
        ("PUT", "vm.create", r#"{"disks":[{}]}"#, 400, r#"field \"disks[0]\": missing field"#),
        ("PUT", "vm.create", r#"{"cpus":{"boot_vcpus":0}}"#, 400, "0 vCPUs at boot"),
        ("PUT", "vm.create", r#"{"cpus":{"boot_vcpus":1025}}"#, 400, "at most 1024"),
        ("PUT", "vm.create", r#"{"memory":{"size":4096}}"#, 400, "too little"),
        ("PUT", "vm.create", r#"{"payload":{"kernel":"/none"}}"#, 400, "No such file"),
    ] {
        let answer = client.request(method, path, body);
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.body);
        assert!(answer.body.contains(message), "{} lacks {message}", answer.body);
        let chain: Vec<String> = serde_json::from_str(&answer.body).expect("array of strings");
        assert!(chain.iter().all(|message| !message.contains('\n')));
        assert_eq!(answer.field("allow").is_some(), status == 405);
    }
    assert_eq!(client.request("GET", "vmm.ping", "").status, 200);
    assert_eq!(client.request("GET", "vm.info", "").status, 404, "no half-made VM");
}

#[test]
fn what_is_no_request_is_answered_and_the_connection_closed() {
    let bed = Bed::new();
    let too_long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(4 * MAX_HEAD));
    let too_big = format!(
        "PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}",
        MAX_BODY + 1,
        "x".repeat(MAX_BODY + 1)
    );
    for (bytes, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        (too_long.as_str(), 431),
        (too_big.as_str(), 413),
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ] {
        let mut client = bed.client();
        client.send(bytes);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(client.closed());
    }
    assert_eq!(bed.client().request("GET", "vmm.ping", "").status, 200);
}

#[test]
fn pipelined_split_and_chunked_requests() {
    let bed = Bed::running();
    let mut client = bed.client();
    let pause = "PUT /api/v1/vm.pause HTTP/1.1\r\n\r\n";
    let resume = "PUT /api/v1/vm.resume HTTP/1.1\r\n\r\n";
    client.send([pause, resume, pause, resume].concat());
    for _ in 0..4 {
        assert_eq!(client.answer().status, 204);
    }
    for byte in pause.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().status, 204);
    assert_eq!(client.request("PUT", "vm.delete", "").status, 204);
    client.send(
        "PUT http://localhost/api/v1/vm.create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    client.send("1\r\n{\r\n");
    client.send(format!("1\r\n}}\r\n0\r\n\r\n{}", "PUT /api/v1/vm.boot HTTP/1.1\r\n\r\n"));
    assert_eq!(client.answer().status, 204);
    assert_eq!(client.answer().status, 204);
    assert_eq!(bed.control.pauses.load(Ordering::SeqCst), 3);
}

#[test]
fn a_client_that_asks_first_is_invited() {
    let bed = Bed::new();
    let mut client = bed.client();
    client.send(
        "PUT /api/v1/vm.create HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.answer().status, 100);
    client.send("{}");
    assert_eq!(client.answer().status, 204);
}

#[test]
fn connections_close_when_asked_to() {
    let bed = Bed::new();
    for request in [
        "GET /api/v1/vmm.ping HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /api/v1/vmm.ping HTTP/1.0\r\n\r\n",
    ] {
        let mut client = bed.client();
        client.send(request);
        assert_eq!(client.answer().status, 200);
        assert!(client.closed());
    }
}

#[test]
fn a_panic_in_the_control_plane_is_an_answer() {
    let bed = Bed::new();
    let mut client = bed.client();
    let panics = client.request("PUT", "vm.create", r#"{"payload":{"cmdline":"panic"}}"#);
    assert_eq!(panics.status, 500);
    assert_eq!(client.request("PUT", "vm.create", "{}").status, 204);
}

#[test]
fn many_connections_at_once_are_all_served() {
    let bed = Bed::new();
    // More than are served at a time: the rest wait in the backlog until others go.
    let mut clients: Vec<_> = (0..vmm::api::MAX_CONNECTIONS + 20).map(|_| bed.client()).collect();
    for client in &mut clients {
        client.send("GET /api/v1/vmm.ping HTTP/1.1\r\nConnection: close\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn stop_ends_idle_and_half_said_requests_and_removes_the_socket() {
    let bed = Bed::new();
    let mut used = bed.client();
    assert_eq!(used.request("GET", "vmm.ping", "").status, 200);
    let mut half = bed.client();
    half.send("GET /api/v1/vmm");
    let idle = bed.client();
    let socket = bed.socket();
    bed.server.stop();
    assert!(!socket.exists());
    let left: Vec<_> = std::fs::read_dir(bed.directory.path()).expect("directory").collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(used.closed() && idle.closed());
    drop(half);
    assert_eq!(Arc::strong_count(&bed.control), 1, "a worker is left");
}

#[test]
fn the_socket_is_private() {
    let bed = Bed::new();
    let mode = std::fs::metadata(bed.socket()).expect("socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_live_socket_is_refused_and_stays() {
    let bed = Bed::new();
    let error = ApiServer::start(&bed.socket(), bed.control.clone()).expect_err("in use");
    let pid = i32::try_from(std::process::id()).expect("a process id");
    assert!(matches!(error, ApiError::InUse { pid: Some(found), .. } if found == pid));
    assert!(error.to_string().contains(&format!("is in use by a live VMM, pid {pid}")));
    assert_eq!(bed.client().request("GET", "vmm.ping", "").status, 200);
}

#[test]
fn a_stale_socket_is_replaced_and_other_files_are_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let control = Arc::new(FakeVmm::default());
    let path = directory.path().join("stale.sock");
    drop(UnixListener::bind(&path).expect("bind"));
    assert!(UnixStream::connect(&path).is_err());
    assert!(vmm::api::remove_stale(&path).expect("removed"));
    assert!(!path.exists());
    assert!(!vmm::api::remove_stale(&path).expect("nothing there"));
    drop(UnixListener::bind(&path).expect("bind"));
    let server = ApiServer::start(&path, control.clone()).expect("replaced");
    assert!(!vmm::api::remove_stale(&path).expect("alive"));
    assert_eq!(Client::connect(&path).request("GET", "vmm.ping", "").status, 200);
    server.stop();

    let file = directory.path().join("file");
    std::fs::write(&file, "precious").expect("written");
    let error = ApiServer::start(&file, control.clone()).expect_err("no socket");
    assert!(matches!(error, ApiError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read(&file).expect("still there"), b"precious");

    let nowhere = directory.path().join("missing/api.sock");
    let error = ApiServer::start(&nowhere, control.clone()).expect_err("no directory");
    assert!(matches!(error, ApiError::Io { .. }), "{error}");
    let long = directory.path().join("x".repeat(108));
    let error = ApiServer::start(&long, control).expect_err("too long");
    assert!(matches!(error, ApiError::PathTooLong(_)), "{error}");
}

#[test]
fn of_two_servers_that_start_at_once_on_a_stale_socket_one_wins() {
    for _ in 0..50 {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("api.sock");
        drop(UnixListener::bind(&path).expect("bind"));
        let start = || ApiServer::start(&path, Arc::new(FakeVmm::default()));
        let results = std::thread::scope(|scope| {
            let threads = [scope.spawn(start), scope.spawn(start)];
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        assert_eq!(Client::connect(&path).request("GET", "vmm.ping", "").status, 200);
    }
}
