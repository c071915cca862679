//! Snapshots and migrations as people type them.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use support::terminal::AtTerminal;
use support::{Background, Bed};

/// After this long something hangs.
const HANG: Duration = Duration::from_mins(2);

fn run<'a>(bed: &'a Bed, name: &'static str) -> Background<'a> {
    Background::run(bed, name, &["--memory", "size=64M", "--cmdline", "mode=busy quiet"])
}

/// A VMM that waits for a VM on a socket in the bed's directory.
fn receive<'a>(bed: &'a Bed, name: &'static str, socket: &str) -> Background<'a> {
    let url = format!("unix:{}", bed.path(socket));
    let said = bed.ok(&["receive", &url, "--name", name, "--detach"]);
    assert!(said.starts_with(&format!("{name}: waiting for a VM on {url}, pid ")), "{said}");
    Background::of(bed, name)
}

/// Waits until `ls` shows so many VMs.
fn await_vms(bed: &Bed, expected: &[(&str, &str)]) {
    let begun = Instant::now();
    loop {
        let list = bed.ok(&["ls"]);
        let rows = list.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let rows: Vec<_> = rows.map(|row| (row[0].to_owned(), row[2].to_owned())).collect();
        let expected = expected.iter().map(|(name, state)| ((*name).into(), (*state).into()));
        if rows == expected.collect::<Vec<(String, String)>>() {
            return;
        }
        assert!(begun.elapsed() < HANG, "{list}");
    }
}

#[test]
fn a_vm_is_saved_looked_into_and_restored() {
    let bed = Bed::new();
    let vm = run(&bed, "web");
    assert_eq!(bed.ok(&["snapshot", "web", "one"]), "web: saved in one\n");
    // The only VM that runs, and a trailing slash.
    bed.ok(&["snapshot", "two/", "--base", "one"]);
    bed.ok(&["snapshot", "web", "three", "--live"]);
    assert!(bed.ok(&["info", "web"]).contains("Running"));
    let seen = bed.ok(&["snapshot", "inspect", "two"]);
    for expected in
        ["id ", "cpus    boot=1,max=1", "memory  size=64M", "base ", "unit ", "have changed"]
    {
        assert!(seen.contains(expected), "{seen} lacks {expected}");
    }
    assert!(
        bed.ok(&["snapshot", "inspect", "one", "--json"]).contains("\"memory_bytes\":67108864")
    );
    let status = bed.ok(&["migrate", "web", "--status"]);
    assert!(status.starts_with("snapshot ") && status.contains("done"), "{status}");

    let said = bed.ok(&["restore", "two", "--name", "again", "--detach"]);
    let again = Background::of(&bed, "again");
    assert!(said.starts_with("again: running, pid "), "{said}");
    let third = Background::of(&bed, "third");
    bed.ok(&["restore", "three", "--name", "third", "--detach", "--paused"]);
    await_vms(&bed, &[("again", "Running"), ("third", "Paused"), ("web", "Running")]);
    bed.ok(&["resume", "third"]);
    for name in ["again", "third", "web"] {
        bed.ok(&["stop", name]);
    }
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    drop((vm, again, third));
}

#[test]
fn a_vm_moves_from_one_process_to_another_and_on() {
    let bed = Bed::new();
    let first = run(&bed, "first");
    let second = receive(&bed, "second", "link");
    let url = format!("unix:{}", bed.path("link"));
    let output = bed.run(&["migrate", "first", "--to", &url]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.starts_with(&format!("first: migrated to {url}, in ")), "{said}");
    assert!(said.contains("stood still"), "{said}");
    await_vms(&bed, &[("second", "Running")]);
    // The first process is gone with its VM, and the socket with the wait for it.
    assert!(!std::path::Path::new(&bed.path("link")).exists());

    bed.ok(&["pause", "second"]);
    let third = receive(&bed, "third", "link");
    let options = ["--downtime-ms", "50", "--timeout-s", "60", "--timeout-strategy", "throttle"];
    let more = ["--connections", "2", "--compression", "lz4"];
    let all: Vec<&str> =
        ["migrate", "second", "--to", &url].into_iter().chain(options).chain(more).collect();
    bed.ok(&all);
    await_vms(&bed, &[("third", "Paused")]);
    bed.ok(&["resume", "third"]);
    // With the memory that it has.
    let fourth = receive(&bed, "fourth", "link");
    let said = bed.ok(&["migrate", "third", "--to", &url, "--local"]);
    assert!(said.starts_with(&format!("third: migrated to {url}, in ")), "{said}");
    await_vms(&bed, &[("fourth", "Running")]);
    bed.ok(&["stop", "fourth"]);
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    drop((first, second, third, fourth));
}

#[test]
fn what_is_wrong_is_told_in_one_line_and_the_vm_goes_on() {
    let bed = Bed::new();
    let vm = run(&bed, "web");
    let nowhere = format!("unix:{}", bed.path("nowhere"));
    std::fs::create_dir(bed.path("there")).expect("directory");
    let wrong: [(&[&str], i32, &str); 18] = [
        (&["migrate", "web"], 2, "the following required arguments"),
        (&["migrate", "web", "--to", "nowhere"], 2, "give unix:/path or tcp:host:port"),
        (&["migrate", "web", "--to", &nowhere], 1, "is a VMM waiting there?"),
        (&["migrate", "web", "--to", &nowhere, "--downtime-ms", "0"], 2, "downtime_ms 0"),
        (&["migrate", "web", "--to", &nowhere, "--connections", "99"], 2, "1 to 64"),
        (&["migrate", "web", "--to", &nowhere, "--compression", "rar"], 2, "none, lz4 or zstd"),
        (&["migrate", "web", "--to", "tcp:localhost:1", "--local"], 2, "give unix:/path"),
        (&["migrate", "web", "--to", &nowhere, "--tls-dir", "there"], 2, "TLS is for tcp"),
        (&["receive", &nowhere, "--tls-dir", "there"], 2, "TLS is for tcp"),
        (&["restore", "there", "--net-fds", "lan=x"], 2, "give ID=FD[:FD"),
        (&["migrate", "web", "--to", &nowhere, "--cancel"], 2, "cannot be used with"),
        (&["migrate", "web", "--resolve", "maybe"], 2, "give keep or drop"),
        (&["migrate", "web", "--resolve", "keep"], 1, "no migration is in doubt"),
        (&["migrate", "web", "--cancel"], 1, "nothing of this kind is under way"),
        (&["snapshot", "web", "there"], 1, "there is there already"),
        (&["snapshot", "web", "x", "--base", "there"], 1, "has no manifest"),
        (&["snapshot", "inspect", "there"], 1, "has no manifest"),
        (&["restore", "there", "--detach"], 1, "has no manifest"),
    ];
    for (args, status, expected) in wrong {
        let (found, line) = bed.fails(args);
        assert_eq!(found, status, "{args:?}: {line}");
        assert!(line.contains(expected), "{args:?}: {line}");
        assert!(bed.ok(&["info", "web"]).contains("Running"), "{args:?}");
    }
    drop(vm);
}

/// A destination that listens and never says a word.
fn mute(bed: &Bed) -> (UnixListener, String) {
    let path = bed.path("mute");
    (UnixListener::bind(&path).expect("socket"), format!("unix:{path}"))
}

#[test]
fn a_migration_shows_how_far_it_is_and_is_cancelled_by_a_key() {
    let bed = Bed::new();
    let vm = run(&bed, "web");
    let (_listener, url) = mute(&bed);
    let mut terminal = AtTerminal::run(&bed, &["migrate", "web", "--to", &url]);
    terminal.wait_for("connecting");
    let seen = terminal.wait_for("connecting");
    assert!(seen.contains('\r') || seen.contains("\u{1b}["), "one line, drawn again: {seen:?}");
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signal");
    terminal.wait_for("error: web: it was cancelled");
    assert_eq!(terminal.end(), Some(1));
    assert!(bed.ok(&["info", "web"]).contains("Running"));
    drop(vm);
}

#[test]
fn another_command_cancels_a_migration_and_a_wait() {
    let bed = Bed::new();
    let vm = run(&bed, "web");
    let (_listener, url) = mute(&bed);
    let command = || bed.command(&["migrate", "web", "--to", &url]);
    let sending = command().stderr(Stdio::piped()).spawn().expect("started");
    await_status(&bed, "web", "connecting");
    let (_, line) = bed.fails(&["snapshot", "web", "x"]);
    assert!(line.contains("the VM is being migrated"), "{line}");
    bed.ok(&["migrate", "web", "--cancel"]);
    let (status, said) = ended(sending);
    assert_eq!(status, Some(1));
    // No terminal, so lines if any; the last one says what became of it.
    assert!(!said.contains(['\r', '\u{1b}']), "{said:?}");
    assert!(said.ends_with("error: web: it was cancelled\n"), "{said:?}");
    bed.ok(&["stop", "web"]);

    let later = receive(&bed, "later", "link");
    // "no VM" yet.
    await_vms(&bed, &[("later", "no")]);
    bed.ok(&["migrate", "later", "--cancel"]);
    await_vms(&bed, &[]);
    let again = receive(&bed, "later", "link");
    bed.ok(&["kill", "later"]);
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    drop((vm, later, again));
}

/// How often a destination is killed; more for long runs.
fn rounds() -> u64 {
    let long = std::env::var("STILLPOINT_MIGRATION_ROUNDS").ok();
    long.and_then(|rounds| rounds.parse().ok()).unwrap_or(8)
}

#[test]
fn a_destination_that_is_killed_at_any_moment_leaves_the_vm_here_or_had_it() {
    let bed = Bed::new();
    let mut vms = vec![run(&bed, "web")];
    let url = format!("unix:{}", bed.path("link"));
    for round in 0..rounds() {
        let there = receive(&bed, "there", "link");
        let pid = there.pid();
        let mut command = bed.command(&["migrate", "web", "--to", &url]);
        let migrating = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let migrating = migrating.expect("started");
        // From before the first connection to after the hand-over.
        let instant = Instant::now() + Duration::from_micros(round * 7919 % 120_000);
        while Instant::now() < instant {
            std::thread::yield_now();
        }
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("alive");
        let (status, said) = ended(migrating);
        if status == Some(0) {
            // It was there, and died there.
            vms.push(run(&bed, "web"));
            continue;
        }
        if said.contains("resolve the migration") {
            bed.ok(&["migrate", "web", "--resolve", "keep"]);
        }
        let info = bed.ok(&["info", "web"]);
        assert!(info.contains("Running"), "round {round}: {said} {info}");
    }
    bed.ok(&["stop", "web"]);
    drop(vms);
}

fn await_status(bed: &Bed, name: &str, state: &str) {
    let begun = Instant::now();
    loop {
        let output = bed.run(&["migrate", name, "--status"]);
        if String::from_utf8_lossy(&output.stdout).contains(state) {
            return;
        }
        assert!(begun.elapsed() < HANG, "{output:?}");
    }
}

/// Exit status and standard error.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("ended");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}
