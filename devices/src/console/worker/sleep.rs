//! How the console's thread sleeps: in one `poll` over its doorbell and whatever of the host's side matters now.
//!
//! Invariant: whoever leaves output, room for input, a device or a stop for the thread rings its doorbell unless the thread is awake, and
//! the thread looks for output once more after it has said that it falls asleep.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Worker;

/// What became of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// There is none.
    Idle,
    /// There may be more.
    More,
    /// The host side takes none now.
    Blocked,
    /// There is no host side.
    Nobody,
}

/// What `poll` can find.
#[derive(Clone, Copy)]
pub(super) enum Found {
    /// The doorbell rings.
    Bell,
    /// There is input, or it has ended.
    Input,
    /// The output's other end is gone.
    HangUp,
    /// A client of the socket.
    Client,
    /// The terminal may have another size.
    Resized,
}

impl Worker {
    /// Sleeps until there is something to do; with more output at hand, only looks.
    pub(super) fn wait(&self, output: Output) -> Vec<Found> {
        let doorbell = &self.port.doorbell;
        let mut look_only = output == Output::More;
        if output == Output::Idle {
            doorbell.fall_asleep();
            look_only = !self.ring.is_empty();
        }
        let mut sources = vec![Found::Bell];
        let mut fds = vec![PollFd::new(doorbell, PollFlags::IN)];
        if let Some(input) = &self.host.input
            && (self.filter.is_some() || self.input.is_empty())
        {
            sources.push(Found::Input);
            fds.push(PollFd::new(input, PollFlags::IN));
        }
        if let Some(host) = &self.host.output {
            // Without a flag, `poll` still tells of a hang-up.
            let blocked = output == Output::Blocked;
            sources.push(Found::HangUp);
            fds.push(PollFd::new(host, if blocked { PollFlags::OUT } else { PollFlags::empty() }));
        } else if let Some(listener) = &self.host.listener
            && self.host.input.is_none()
        {
            sources.push(Found::Client);
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        if let Some(resized) = &self.host.resized {
            sources.push(Found::Resized);
            fds.push(PollFd::new(resized, PollFlags::IN));
        }
        let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
        let result = poll(&mut fds, look_only.then_some(&no_time));
        doorbell.wake_up();
        if result.is_err() {
            // A signal: one round more, in which nothing is known to be ready.
            return Vec::new();
        }
        // That output can be written is found by writing it.
        let ready = |fd: &PollFd<'_>| !(fd.revents() - PollFlags::OUT).is_empty();
        sources.into_iter().zip(&fds).filter(|(_, fd)| ready(fd)).map(|(found, _)| found).collect()
    }

    /// Waits until the host side takes output; false when it does not in time.
    pub(super) fn wait_for_host(&self, time: Duration) -> bool {
        let Some(host) = &self.host.output else { return false };
        let Ok(time) = Timespec::try_from(time) else { return false };
        match poll(&mut [PollFd::new(host, PollFlags::OUT)], Some(&time)) {
            Ok(ready) => ready > 0,
            Err(error) => error == Errno::INTR,
        }
    }
}
