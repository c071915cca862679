//! Links that end at a chosen byte, and carry descriptors with the bytes or do not.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// What a link carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    Bytes,
    /// And descriptors with them.
    Descriptors,
}

/// Carries what a source, which connects to `path`, and a destination send each other, until so many bytes have gone to the destination.
pub fn cut_link(path: &Path, to: &str, after: u64, what: Carries) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let to = to.strip_prefix("unix:").unwrap().to_owned();
    std::thread::spawn(move || {
        let (here, _) = listener.accept().unwrap();
        let there = UnixStream::connect(to).unwrap();
        let carry = match what {
            Carries::Bytes => carry_bytes,
            Carries::Descriptors => carry_all,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Ends when either end is shut down.
                let _ = std::io::copy(&mut &there, &mut &here);
            });
            let mut left = after;
            while left > 0 {
                match carry(&here, &there, left) {
                    Some(carried @ 1..) => left -= carried,
                    _ => break,
                }
            }
            let _ = (here.shutdown(Shutdown::Both), there.shutdown(Shutdown::Both));
        });
    })
}

/// Bytes that are carried at once.
const PIECE: u64 = 1 << 16;

/// Some bytes, at most so many; none if that is over.
fn carry_bytes(mut from: &UnixStream, mut to: &UnixStream, most: u64) -> Option<u64> {
    let mut piece = vec![0; usize::try_from(most.min(PIECE)).ok()?];
    let read = from.read(&mut piece).ok()?;
    to.write_all(&piece[..read]).ok()?;
    Some(read as u64)
}

/// The same, with the descriptors that belong to the last of them.
fn carry_all(from: &UnixStream, to: &UnixStream, most: u64) -> Option<u64> {
    let mut bytes = vec![0; usize::try_from(most.min(PIECE)).ok()?];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(64))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(from, into, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?.bytes;
    let mut files: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    let bytes = &bytes[..received];
    let carried = Some(received as u64);
    if files.is_empty() {
        return (&*to).write_all(bytes).ok().and(carried);
    }
    // The kernel reads no further than the byte that they came with.
    let (last, before) = bytes.split_last()?;
    (&*to).write_all(before).ok()?;
    let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let carrier = [*last];
    sendmsg(to, &[IoSlice::new(&carrier)], &mut control, SendFlags::NOSIGNAL).ok().and(carried)
}
