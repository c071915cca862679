//! Whether a client has taken its answer.
//!
//! After a resume, hundreds of vCPUs want the processors. A client that was answered and has not run yet
//! would get one after all of them: it would learn of the resume a second after it. So the vCPUs are
//! woken when it has the answer; their words say since before the answer that nobody holds them.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a client may keep the vCPUs waiting that does not read. One that is waiting for the answer
/// needs some ten microseconds.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long between two looks: nothing tells a socket's owner that its peer has read.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000 };

/// Leaves the processor to others until the peer has read everything that was written, or has written something
/// else.
pub(super) fn await_read(stream: &UnixStream) {
    let begun = Instant::now();
    while unread(stream) && begun.elapsed() < PATIENCE {
        match poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(Errno::INTR) => {}
            _ => return,
        }
    }
}

/// Whether bytes lie in the socket that the peer has not read (SIOCOUTQ, unix(7)).
fn unread(stream: &UnixStream) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, to one that outlives the call; the descriptor is open.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    result == 0 && bytes > 0
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn an_answer_is_unread_until_it_is_read() {
        let (mut server, mut client) = UnixStream::pair().unwrap();
        assert!(!unread(&server));
        server.write_all(b"answer").unwrap();
        assert!(unread(&server));
        client.read_exact(&mut [0; 6]).unwrap();
        assert!(!unread(&server));
    }

    #[test]
    fn a_client_that_never_reads_or_is_gone_keeps_nobody_waiting() {
        let (mut server, client) = UnixStream::pair().unwrap();
        server.write_all(b"answer").unwrap();
        await_read(&server);
        assert!(unread(&server));
        drop(client);
        await_read(&server);
    }
}
