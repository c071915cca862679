//! Descriptors that go over a Unix socket with a byte (unix(7), SCM_RIGHTS).
//!
//! Invariants:
//! - What is received is owned at once, and closed if nobody wants it; what is sent stays the sender's, too.
//! - At most [`MAX_PASSED`] come with a byte. More is an error, and the kernel closes those that have no room.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that are passed at once.
pub const MAX_PASSED: usize = 64;
/// The byte that they go with.
const CARRIER: u8 = b'D';

/// Sends descriptors.
pub(super) fn send(socket: BorrowedFd<'_>, passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_PASSED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if passed.is_empty() || !control.push(SendAncillaryMessage::ScmRights(passed)) {
        let what = format!("{} descriptors; 1 to {MAX_PASSED} can be passed", passed.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let carrier = [CARRIER];
    match sendmsg(socket, &[IoSlice::new(&carrier)], &mut control, SendFlags::NOSIGNAL)? {
        1 => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Receives descriptors; `None` at the end of the connection.
pub(super) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_PASSED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut carrier = [0];
    let into = &mut [IoSliceMut::new(&mut carrier)];
    let received = recvmsg(socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut passed = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            passed.extend(rights);
        }
    }
    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    match (received.bytes, carrier) {
        (0, _) => Ok(None),
        _ if received.flags.contains(ReturnFlags::CTRUNC) => {
            wrong(format!("more than {MAX_PASSED} descriptors came"))
        }
        (_, [CARRIER]) => Ok(Some(passed)),
        _ => wrong("something else came where descriptors should".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// How many ends of a pipe's writing side are open, as far as its reader can tell: none.
    fn is_closed(reader: &mut io::PipeReader) -> bool {
        reader.read(&mut [0]).is_ok_and(|read| read == 0)
    }

    #[test]
    fn a_descriptor_that_came_is_the_same_file() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        send(here.as_fd(), &[file.as_fd(), here.as_fd()]).unwrap();
        let passed = receive(there.as_fd()).unwrap().unwrap();
        assert_eq!(passed.len(), 2);
        let mut same = File::from(passed.into_iter().next().unwrap());
        same.write_all(b"x").unwrap();
        file.rewind().unwrap();
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "x");
        drop(here);
        assert!(receive(there.as_fd()).unwrap().is_none());
    }

    #[test]
    fn too_many_none_or_the_wrong_byte_are_errors_and_leave_nothing_open() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (mut here, there) = UnixStream::pair().unwrap();
        // As many as a sender that keeps to the limit cannot send, and the kernel takes.
        let many = [writer.as_fd(); MAX_PASSED + 40];
        send(here.as_fd(), &many).unwrap_err();
        send(here.as_fd(), &[]).unwrap_err();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_PASSED + 40))];
        for (byte, many) in [(CARRIER, &many[..]), (b'x', &many[..2])] {
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(many)));
            let carrier = [byte];
            let slices = [IoSlice::new(&carrier)];
            sendmsg(&here, &slices, &mut control, SendFlags::NOSIGNAL).unwrap();
            let error = receive(there.as_fd()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
        // A byte without any is no error here: whoever asked knows how many there should be.
        here.write_all(&[CARRIER]).unwrap();
        assert!(receive(there.as_fd()).unwrap().is_some_and(|passed| passed.is_empty()));
        drop(writer);
        assert!(is_closed(&mut reader));
    }
}
