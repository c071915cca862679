//! A link that carries descriptors with the bytes, and ends at a chosen one.

use std::io::{IoSlice, IoSliceMut, Write};
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

/// Carries what a source, which connects to `path`, and a destination send each other, until so many bytes have gone to the destination.
pub fn relay(path: &Path, to: &str, after: u64) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let to = to.strip_prefix("unix:").unwrap().to_owned();
    std::thread::spawn(move || {
        let (here, _) = listener.accept().unwrap();
        let there = UnixStream::connect(to).unwrap();
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

/// Some bytes, at most so many, with the descriptors that belong to the last of them; none if that is over.
fn carry(from: &UnixStream, to: &UnixStream, most: u64) -> Option<u64> {
    let mut bytes = vec![0; usize::try_from(most.min(1 << 16)).ok()?];
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
