//! A terminal, and somebody before it.
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Child;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::Bed;

/// After this many seconds something hangs.
const HANG: i64 = 120;

/// A terminal with the program in its foreground.
pub struct AtTerminal {
    pub child: Child,
    /// The person's side.
    screen: File,
    /// The program's side, kept open to look at its mode.
    line: OwnedFd,
    before: Termios,
    unread: String,
}

impl AtTerminal {
    pub fn run(bed: &Bed, args: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).expect("pty");
        grantpt(&screen).expect("granted");
        unlockpt(&screen).expect("unlocked");
        let path = ptsname(&screen, Vec::new()).expect("name").into_string().expect("text");
        let open = || File::options().read(true).write(true).open(&path).expect("line");
        let line = OwnedFd::from(open());
        let size = Winsize { ws_row: 24, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&line, size).expect("size");
        let before = tcgetattr(&line).expect("modes");
        let child =
            bed.command(args).stdin(open()).stdout(open()).stderr(open()).spawn().expect("started");
        Self { child, screen: File::from(screen), line, before, unread: String::new() }
    }

    /// Reads from the screen until `text` is on it; returns what came up to its end.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            let limit = Timespec { tv_sec: HANG, tv_nsec: 0 };
            let mut fds = [PollFd::new(&self.screen, PollFlags::IN)];
            let ready = poll(&mut fds, Some(&limit)).expect("poll");
            assert!(ready > 0, "waited in vain for {text:?} after {:?}", self.unread);
            let mut piece = [0; 1024];
            let length = self.screen.read(&mut piece).expect("screen");
            assert!(length > 0, "{}", self.unread);
            self.unread.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }

    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.line).expect("modes").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub fn press(&mut self, keys: &[u8]) {
        self.screen.write_all(keys).expect("keys");
    }

    /// Waits until the VM runs, and so until the terminal is raw.
    pub fn wait_until_raw(&mut self) {
        self.wait_for("Ctrl-A h helps");
        assert!(self.is_raw());
    }

    /// Waits for the end; the exit status. The terminal must be as it was before.
    pub fn end(&mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("not waited for yet");
        let limit = Timespec { tv_sec: HANG, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)).expect("poll");
        assert!(ended > 0, "it does not end");
        let status = self.child.wait().expect("ended");
        let after = tcgetattr(&self.line).expect("modes");
        assert_eq!(self.before.local_modes, after.local_modes);
        assert_eq!(self.before.input_modes, after.input_modes);
        assert_eq!(self.before.output_modes, after.output_modes);
        assert_eq!(self.before.control_modes, after.control_modes);
        status.code()
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        // Does nothing to a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
