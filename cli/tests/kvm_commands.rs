//! VMs in the background, and the commands that find them.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::os::unix::net::UnixListener;

use support::{Background, Bed};

#[test]
fn commands_find_a_vm_by_name() {
    let bed = Bed::new();
    let vm = Background::run(&bed, "web", &["--cpus", "boot=2", "--memory", "size=64M"]);
    let list = bed.ok(&["ls"]);
    let line = list.lines().nth(1).expect("one VM");
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((cells[0], cells[2], cells[3], cells[4]), ("web", "Running", "2", "64M"));
    let info = bed.ok(&["info", "web"]);
    for expected in ["Running", "boot=2,max=2", "size=64M", "embedded guest", "vcpu 1", "µs"] {
        assert!(info.contains(expected), "{info} lacks {expected}");
    }
    assert!(bed.ok(&["info", "--json"]).contains("\"state\":\"Running\""));
    let (status, line) = bed.fails(&["resume", "web"]);
    assert_eq!(status, 1);
    assert_eq!(line, "error: web: cannot resume a VM that is Running; it must be Paused\n");
    bed.ok(&["pause", "web"]);
    let info = bed.ok(&["info"]);
    assert!(info.contains("Paused") && info.contains("last pause"), "{info}");
    // Done already.
    bed.ok(&["pause", "web"]);
    bed.ok(&["nmi", "web"]);
    bed.ok(&["resume"]);
    bed.ok(&["nmi", "web"]);
    bed.ok(&["power-button", "web"]);
    bed.ok(&["reboot", "web"]);
    let (status, line) = bed.fails(&["run", "--name", "web"]);
    assert_eq!(status, 1);
    assert!(line.starts_with("error: a VM named \"web\" runs already, pid "), "{line}");
    let (_, line) = bed.fails(&["pause", "wbe"]);
    assert_eq!(line, "error: no VM named \"wbe\" runs; running: web\n");
    bed.ok(&["stop", "web"]);
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    drop(vm);
}

#[test]
fn names_are_made_up_and_needed_when_there_are_several() {
    let bed = Bed::new();
    assert!(bed.ok(&["run", "--detach"]).starts_with("vm-1: running"));
    assert!(bed.ok(&["run", "--detach"]).starts_with("vm-2: running"));
    let (status, line) = bed.fails(&["pause"]);
    assert_eq!(status, 2);
    assert_eq!(line, "error: several VMs run, say which: running: vm-1, vm-2\n");
    bed.ok(&["kill", "vm-1"]);
    bed.ok(&["kill"]);
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
}

#[test]
fn a_paused_vm_can_be_stopped_killed_and_rebooted() {
    let bed = Bed::new();
    for command in ["stop", "kill"] {
        let vm = Background::run(&bed, "web", &["--cpus", "boot=2"]);
        bed.ok(&["pause"]);
        bed.ok(&["reboot"]);
        assert!(bed.ok(&["info"]).contains("Running"));
        bed.ok(&["pause"]);
        bed.ok(&[command]);
        assert!(bed.left_behind().is_empty(), "{command}: {:?}", bed.left_behind());
        drop(vm);
    }
}

#[test]
fn dead_vms_are_cleared_up() {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let bed = Bed::new();
    let vm = Background::run(&bed, "web", &[]);
    let process = pidfd_open(vm.pid(), PidfdFlags::empty()).expect("it lives");
    pidfd_send_signal(&process, Signal::KILL).expect("killed");
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut fds, None).expect("it ends");
    assert_eq!(bed.left_behind(), ["web.sock"]);
    let (_, line) = bed.fails(&["pause", "web"]);
    assert_eq!(line, "error: no VM named \"web\" runs; none does\n");
    assert_eq!(bed.ok(&["ls", "--json"]), "[]\n");
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    // A socket that nobody cleared up is no obstacle either.
    let stale = bed.runtime().join("web.sock");
    drop(UnixListener::bind(stale).expect("bind"));
    let again = Background::run(&bed, "web", &[]);
    bed.ok(&["stop"]);
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    drop((vm, again));
}

#[test]
fn a_serial_port_in_a_file_and_an_api_socket_of_ones_own() {
    let bed = Bed::new();
    let stale = bed.path("api.sock");
    drop(UnixListener::bind(&stale).expect("bind"));
    let args = ["run", "--detach", "--api-socket", "api.sock", "--serial", "file=out"];
    assert!(bed.ok(&args).starts_with("api: running, pid "));
    let (status, line) = bed.fails(&args);
    assert_eq!(status, 1);
    assert!(line.starts_with("error: API socket api.sock is in use by a live VMM, pid "), "{line}");
    bed.ok(&["info", "--api-socket", "api.sock"]);
    bed.ok(&["stop", "--api-socket", "api.sock"]);
    let out = std::fs::read_to_string(bed.path("out")).expect("it printed");
    assert!(out.starts_with("Stillpoint embedded guest"), "{out}");
    assert!(!std::path::Path::new(&stale).exists());
}

/// The embedded guest lets go of no vCPU, which makes it a guest that has not honoured an unplug.
#[test]
fn an_unplug_that_the_guest_has_not_honoured_is_shown_and_can_be_cancelled() {
    let bed = Bed::new();
    let vm = Background::run(&bed, "web", &["--cpus", "boot=4,max=6"]);
    let leaving = |info: &str| info.matches("the guest has not let go of it yet").count();
    bed.ok(&["resize", "web", "--cpus", "2"]);
    let info = bed.ok(&["info", "web"]);
    assert_eq!(leaving(&info), 2, "{info}");
    assert!(info.lines().any(|line| line.starts_with("vcpu 3 ") && leaving(line) == 1), "{info}");

    let (status, line) = bed.fails(&["resize", "web", "--cpus", "3"]);
    assert_eq!(status, 1);
    assert!(line.contains("has not let go of vCPU 2, 3 yet; a resize to 4 or more"), "{line}");
    assert_eq!(leaving(&bed.ok(&["info", "web"])), 2, "nothing has changed");

    bed.ok(&["resize", "web", "--cpus", "4"]);
    let info = bed.ok(&["info", "web"]);
    assert_eq!(leaving(&info), 0, "{info}");
    assert!(info.contains("boot=4,max=6"), "{info}");
    bed.ok(&["stop"]);
    drop(vm);
}

#[test]
fn zones_and_nodes_are_options() {
    let bed = Bed::new();
    let zones = ["--memory-zone", "id=a,size=64M", "id=b,size=32M"];
    let nodes = ["guest_numa_id=0,cpus=[0],memory_zones=[a]", "guest_numa_id=1,memory_zones=[b]"];
    let options = [&zones[..], &["--numa"], &nodes].concat();
    let vm = Background::run(&bed, "web", &options);
    let info = bed.ok(&["info", "web"]);
    for (key, value) in [("memory now ", " 96M"), ("memory zone ", " id=b,size=32M")] {
        let is_it = |line: &str| line.starts_with(key) && line.ends_with(value);
        assert!(info.lines().any(is_it), "{info} lacks {key}{value}");
    }
    assert!(nodes.iter().all(|node| info.contains(node)), "{info}");
    bed.ok(&["stop"]);
    drop(vm);

    let (_, line) = bed.fails(&["run", "--numa", "guest_numa_id=0,cpus=[0]"]);
    assert_eq!(
        line,
        "error: numa: memory zone \"mem0\" is in no node; with nodes each zone needs one\n"
    );
    let (_, line) = bed.fails(&["run", "--memory", "size=1G", "--memory-zone", "id=a,size=64M"]);
    assert!(line.contains("memory: size 1GiB beside zones"), "{line}");
}
