//! A VM from start to end, as a person at a shell and at a terminal has it.
#![expect(clippy::expect_used, reason = "helpers of tests say what they expected")]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use support::Bed;

/// The VMM that `run --detach` left in the background, ended with the test if it fails.
struct Background<'a>(&'a Bed, &'static str);

impl<'a> Background<'a> {
    fn run(bed: &'a Bed, name: &'static str, args: &[&str]) -> Self {
        let all: Vec<&str> =
            ["run", "--detach", "--name", name].iter().chain(args).copied().collect();
        let said = bed.ok(&all);
        assert!(said.starts_with(&format!("{name}: running, pid ")), "{said}");
        Self(bed, name)
    }
}

impl Drop for Background<'_> {
    fn drop(&mut self) {
        if !self.0.left_behind().is_empty() {
            let _ = self.0.run(&["kill", self.1]);
        }
    }
}

#[test]
fn commands_find_a_vm_by_name() {
    let bed = Bed::new();
    let vm = Background::run(&bed, "web", &["--cpus", "boot=2", "--memory", "size=64M"]);
    let list = bed.ok(&["ls"]);
    let line = list.lines().nth(1).expect("one VM");
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((cells[0], cells[2], cells[3], cells[4]), ("web", "Running", "2", "64M"));
    let info = bed.ok(&["info", "web"]);
    for expected in ["Running", "boot=2,max=2", "size=64M", "embedded guest", "vcpu 1"] {
        assert!(info.contains(expected), "{info} lacks {expected}");
    }
    assert!(bed.ok(&["info", "--json"]).contains("\"state\":\"Running\""));
    let (status, line) = bed.fails(&["resume", "web"]);
    assert_eq!(status, 1);
    assert!(line.starts_with("error: web: cannot resume a VM that is Running"), "{line}");
    bed.ok(&["pause", "web"]);
    assert!(bed.ok(&["info"]).contains("Paused"));
    bed.ok(&["resume"]);
    bed.ok(&["nmi", "web"]);
    bed.ok(&["reboot", "web"]);
    let (status, line) = bed.fails(&["run", "--name", "web"]);
    assert_eq!(status, 1);
    assert!(line.starts_with("error: a VM named \"web\" runs already, pid "), "{line}");
    let (_, line) = bed.fails(&["pause", "wbe"]);
    assert!(line.ends_with("runs; running: web\n"), "{line}");
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
fn dead_vms_are_cleared_up() {
    let bed = Bed::new();
    let _vm = Background::run(&bed, "web", &[]);
    let pid = bed
        .ok(&["ls"])
        .lines()
        .nth(1)
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<i32>().ok());
    let pid = rustix::process::Pid::from_raw(pid.expect("pid")).expect("not zero");
    let process =
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it lives");
    rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL).expect("killed");
    let mut fds = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).expect("it ends");
    assert_eq!(bed.left_behind(), ["web.sock"]);
    assert_eq!(bed.ok(&["ls", "--json"]), "[]\n");
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    // A socket that nobody cleared up is no obstacle either.
    let stale = bed.runtime().join("web.sock");
    drop(std::os::unix::net::UnixListener::bind(stale).expect("bind"));
    let again = Background::run(&bed, "web", &[]);
    bed.ok(&["stop"]);
    drop(again);
}

#[test]
fn an_empty_vmm_is_served_until_it_is_ended() {
    let bed = Bed::new();
    let mut served = bed
        .command(&["serve", "--api-socket", "api.sock"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = [0; 64];
    let length = served.stdout.take().expect("piped").read(&mut said).expect("a line");
    assert_eq!(&said[..length], b"api: API on api.sock\n");
    let (status, line) = bed.fails(&["pause", "--api-socket", "api.sock"]);
    assert_eq!(status, 1);
    assert_eq!(line, "error: api.sock: no VM has been created: send vm.create first\n");
    bed.ok(&["kill", "--api-socket", "api.sock"]);
    assert!(served.wait().expect("ended").success());
    assert!(!bed.directory.path().join("api.sock").exists());
}

/// A terminal with the VM in its foreground.
struct AtTerminal {
    child: Child,
    /// The person's side.
    screen: File,
    /// The program's side, kept open to look at its mode.
    line: OwnedFd,
}

impl AtTerminal {
    fn run(bed: &Bed, args: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).expect("pty");
        grantpt(&screen).expect("granted");
        unlockpt(&screen).expect("unlocked");
        let path = ptsname(&screen, Vec::new()).expect("name").into_string().expect("text");
        let open = || File::options().read(true).write(true).open(&path).expect("line");
        let child =
            bed.command(args).stdin(open()).stdout(open()).stderr(open()).spawn().expect("started");
        Self { child, screen: File::from(screen), line: open().into() }
    }

    /// Reads from the screen until `text` is on it.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        let mut piece = [0; 1024];
        while !seen.contains(text) {
            let length = self.screen.read(&mut piece).expect("screen");
            assert!(length > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
        seen
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.line).expect("modes").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn press(&mut self, keys: &[u8]) {
        self.screen.write_all(keys).expect("keys");
    }

    /// Waits until help has come, and so until the terminal is raw.
    fn wait_until_raw(&mut self) {
        self.wait_for("Ctrl-A h helps");
        // The key waits in the terminal until the console reads it.
        self.press(b"\x01h");
        self.wait_for("this help");
        assert!(self.is_raw());
    }
}

#[test]
fn ctrl_a_x_ends_it_and_the_terminal_is_as_before() {
    let bed = Bed::new();
    let mut terminal = AtTerminal::run(&bed, &["run", "--name", "web"]);
    let before = tcgetattr(&terminal.line).expect("modes");
    terminal.wait_until_raw();
    assert!(bed.ok(&["info", "web"]).contains("Running"));
    terminal.press(b"\x01x");
    assert!(terminal.child.wait().expect("ended").success());
    let after = tcgetattr(&terminal.line).expect("modes");
    assert_eq!(before.local_modes, after.local_modes);
    assert_eq!(before.input_modes, after.input_modes);
    assert_eq!(before.output_modes, after.output_modes);
    assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
}

#[test]
fn signals_end_it_and_the_terminal_is_restored() {
    use rustix::process::Signal;
    for (signal, status) in
        [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130), (Signal::QUIT, 131)]
    {
        let bed = Bed::new();
        let mut terminal = AtTerminal::run(&bed, &["run"]);
        terminal.wait_until_raw();
        let pid = rustix::process::Pid::from_child(&terminal.child);
        rustix::process::kill_process(pid, signal).expect("sent");
        assert_eq!(terminal.child.wait().expect("ended").code(), Some(status));
        assert!(!terminal.is_raw());
        assert!(bed.left_behind().is_empty(), "{:?}", bed.left_behind());
    }
}

#[test]
fn top_shows_a_vm_and_pauses_it() {
    let bed = Bed::new();
    let vm = Background::run(&bed, "web", &[]);
    let mut terminal = AtTerminal::run(&bed, &["top", "web"]);
    rustix::termios::tcsetwinsize(
        &terminal.line,
        rustix::termios::Winsize { ws_row: 24, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 },
    )
    .expect("size");
    terminal.wait_for("Running");
    terminal.press(b"p");
    terminal.wait_for("Paused");
    assert!(bed.ok(&["info"]).contains("Paused"));
    bed.ok(&["kill"]);
    terminal.wait_for("has ended");
    terminal.press(b" ");
    assert!(terminal.child.wait().expect("ended").success());
    assert!(!terminal.is_raw());
    drop(vm);
}
